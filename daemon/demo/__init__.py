"""`builtin:demo`: a toy Qwen3 model that proves an installation; see README.md in this folder."""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
