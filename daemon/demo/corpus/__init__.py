"""The text the demo model is trained on: generated, seeded, fetched from nowhere."""

from .mix import conversations

__all__ = ["conversations"]
