"""What a model folder holds, read from config.json and the headers of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelInfo:
    """A model on disk that looks whole; nothing of it has been loaded."""

    folder: Path
    architecture: str  # config.json's model_type
    kind: str  # text, vision, embedding …
    context: int | None  # tokens, as the config says; None when it does not
    num_layers: int | None
    weights_bytes: int  # of all tensors
    num_tensors: int
    quantization: str | None  # e.g. "4-bit, group 64"; None for plain floats
    kv_bytes_per_token: int  # of one sequence while all its layers still grow


def describe(folder: Path) -> ModelInfo:
    """Read `folder`; milliseconds even for large models. Blocking: run it in a thread.

    Raises ModelFailed, with a message for the user, when there is no folder, no or a broken
    config.json, no weights, a weight file shorter than its header says, or an index naming files
    that are not there.
    """
    raise NotImplementedError
