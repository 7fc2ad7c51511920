"""What a model folder holds, read from config.json and the headers of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocol.errors import ModelFailed
from ..protocol.nesting import is_deeper
from .footprint import MOST, KVShape, kv_shape, text_config
from .inside import check_config, check_files
from .weights import read_weights

MAX_CONFIG_BYTES = 16 << 20
MAX_DEPTH = 64  # of brackets

CONTEXT_KEYS = (
    "max_position_embeddings",
    "model_max_length",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_positions",
    "n_ctx",
)

# Word in the name of an architecture class → what the model does; the first that fits.
KINDS = (
    ("ForSequenceClassification", "reranker"),
    ("ForSpeechSeq2Seq", "transcription"),
    ("WhisperForConditionalGeneration", "transcription"),
    ("ForMaskedLM", "embedding"),
    ("RobertaModel", "embedding"),
    ("BertModel", "embedding"),
    ("EmbeddingModel", "embedding"),
)


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
    kv: KVShape  # what a sequence keeps per token

    @property
    def kv_bytes_per_token(self) -> int:
        """Of one sequence, while all its layers still grow."""
        return self.kv.bytes_per_token


def describe(folder: Path) -> ModelInfo:
    """Read `folder`; milliseconds even for large models. Blocking: run it in a thread.

    Raises ModelFailed, with a message for the user, when there is no folder, no or a broken
    config.json, no weights, a weight file shorter than its header says, an index naming files
    that are not there, links that lead out of the folder, or code that it wants to run.
    """
    config = read_config(folder)
    check_files(folder)
    check_config(folder, config)
    weights = read_weights(folder)
    text = text_config(config)
    layers = text.get("num_hidden_layers")
    return ModelInfo(
        folder=folder,
        architecture=str(config["model_type"]),
        kind=_kind(folder, config),
        context=_context(text),
        num_layers=layers if isinstance(layers, int) else None,
        weights_bytes=weights.size_bytes,
        num_tensors=weights.num_tensors,
        quantization=_quantization(config),
        kv=kv_shape(config),
    )


def declared_kind(declared: str, info: ModelInfo) -> str:
    """What a model does: as its entry in config.yaml says, or for "auto" as its files say."""
    return info.kind if declared == "auto" else declared


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, which names a model_type. Raises ModelFailed."""
    path = folder / "config.json"
    try:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise ModelFailed(f"The model's folder {folder} {what}.")
        if path.is_fifo():  # to open it would wait for ever
            raise ModelFailed(f"{path} is not a regular file.")
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        raise ModelFailed(f"{folder} is not a model: it has no config.json.") from error
    except OSError as error:
        raise ModelFailed(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(text) > MAX_CONFIG_BYTES:
        raise ModelFailed(f"{path} is larger than {MAX_CONFIG_BYTES >> 20} MiB.")
    try:
        # json and not msgspec: some configs hold NaN or Infinity.
        config = json.loads(text)
        json.dumps(config, ensure_ascii=False).encode()  # half a character could not be shown
    except (ValueError, RecursionError) as error:
        raise ModelFailed(f"{path} is not valid JSON: {error}.") from error
    if is_deeper(text, config, MAX_DEPTH):
        raise ModelFailed(f"{path} is nested more than {MAX_DEPTH} levels deep.")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelFailed(f"{path} names no model_type.")
    return config


def _context(text: Mapping[str, Any]) -> int | None:
    for key in CONTEXT_KEYS:
        value = text.get(key)
        # Some say 1e30 for any length.
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST:
            return value
    return None


def _kind(folder: Path, config: Mapping[str, Any]) -> str:
    architectures = config.get("architectures")
    names = " ".join(map(str, architectures)) if isinstance(architectures, list) else ""
    if (folder / "1_LogitScore").is_dir():
        return "reranker"  # a decoder with sentence-transformers' files
    if "ForSequenceClassification" not in names and (
        (folder / "modules.json").exists() or (folder / "1_Pooling").is_dir()
    ):
        return "embedding"  # sentence-transformers' files
    if config.get("use_bidirectional_attention") is True:
        return "embedding"  # tokens that see the next ones predict nothing
    for word, kind in KINDS:
        if word in names:
            return kind
    return "vision" if isinstance(config.get("vision_config"), Mapping) else "text"


def _quantization(config: Mapping[str, Any]) -> str | None:
    found = config.get("quantization") or config.get("quantization_config")
    if not isinstance(found, Mapping):
        return None
    bits, group, mode = found.get("bits"), found.get("group_size"), found.get("mode")
    method = mode if mode not in (None, "affine") else found.get("quant_method")
    words = [str(method)] if method else []
    if isinstance(bits, int):
        words.append(f"{bits}-bit")
    text = " ".join(words) or "quantised"
    return f"{text}, group {group}" if isinstance(group, int) else text
