"""Folder → the body of a model that makes vectors, or body and head of one that compares texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from .. import device
from ..loader import BROKEN, LoadError, config_context
from .bert import MODEL_TYPES as BERTS
from .bert import load_bert
from .decoder import Decoder, load_decoder
from .dense import load_dense
from .gemma3 import is_gemma_encoder, load_gemma3
from .heads import BertHead, Head, RobertaHead, ScoreHead, YesNoHead, load_head
from .modernbert import MODEL_TYPES as MODERN_BERTS
from .modernbert import ModernBertHead, load_modernbert
from .pooling import Pooling, read_modules
from .weights import Weights

# model_type → what loads it: the model, its context in tokens, the weights of its heads.
ENCODERS: dict[str, Callable[[Path, dict[str, Any]], tuple[Any, int, Weights]]] = {
    **dict.fromkeys(BERTS, load_bert),
    **dict.fromkeys(MODERN_BERTS, load_modernbert),
}


class LoadedBody(NamedTuple):
    body: Callable[[mx.array, mx.array], mx.array]  # tokens, mask [rows, n] → [rows, n, hidden]
    pooling: Pooling
    dense: Sequence[Callable[[mx.array], mx.array]]  # each after the pooling: [rows, …] → [rows, …]
    vocab_size: int
    context: int  # tokens
    weights_bytes: int
    notes: tuple[str, ...]


class LoadedReranker(NamedTuple):
    # tokens, mask [rows, n], where second texts begin [rows] → [rows, n, hidden]
    body: Callable[[mx.array, mx.array, mx.array], mx.array]
    head: Head
    vocab_size: int
    context: int  # tokens
    weights_bytes: int
    notes: tuple[str, ...]


def load_body(folder: Path, context: int | None) -> LoadedBody:
    """Loads and evaluates it. Raises LoadError for whatever is wrong with the folder."""
    with _faults():
        config = _config(folder)
        body: Any
        if is_gemma_encoder(config):
            load_encoder = load_gemma3
        else:
            load_encoder = ENCODERS.get(str(config.get("model_type")))
        if load_encoder is not None:
            body, own_context, heads = load_encoder(folder, config)
            vocab_size, default, parts = body.vocab_size, "mean", [body]
        else:
            decoder = load_decoder(folder, config)
            vocab_size, default, parts = decoder.embedding.weight.shape[0], "last", [decoder.body]
            body, own_context, heads = _tokens_alone(decoder.body), config_context(config), {}
        modules = read_modules(folder, default)
        dense = load_dense(folder, modules, heads, config)
        weights_bytes, notes = _settle([*parts, *dense])
    return LoadedBody(
        body, modules.pooling, dense, vocab_size, context or own_context, weights_bytes, notes
    )


def load_reranker(folder: Path, context: int | None) -> LoadedReranker:
    """The same for a model with one score."""
    with _faults():
        config = _config(folder)
        kind = str(config.get("model_type"))
        body: Any
        head: Any
        parts: list[Any]
        if kind in ENCODERS:
            body, own_context, weights = ENCODERS[kind](folder, config)
            if kind == "bert":
                head = load_head(BertHead(config), "classifier", weights, config)
            elif kind in BERTS:
                head = load_head(RobertaHead(config), "classifier.out_proj", weights, config)
            else:
                head = load_head(ModernBertHead(config), "classifier", weights, config)
            vocab_size, parts = body.vocab_size, [body, head]
        elif kind == "qwen3":
            decoder = load_decoder(folder, config)
            module = decoder.body
            head, own_context = _decoder_head(folder, decoder), config_context(config)
            vocab_size, parts = decoder.embedding.weight.shape[0], [module]
            if decoder.output is not decoder.embedding:
                parts.append(decoder.output)
            body = _tokens_alone(module)
        else:
            known = ", ".join((*ENCODERS, "qwen3"))
            raise LoadError(f"rerankers of the architecture {kind} are not supported: {known} are")
        weights_bytes, notes = _settle([part for part in parts if isinstance(part, nn.Module)])
    return LoadedReranker(body, head, vocab_size, context or own_context, weights_bytes, notes)


def _decoder_head(folder: Path, decoder: Decoder) -> Head:
    """Raises ValueError."""
    if decoder.score is not None:
        if decoder.score.shape[0] != 1:
            count = decoder.score.shape[0]
            raise ValueError(f"it tells {count} classes apart; a reranker gives one score")
        return ScoreHead(decoder.score[0])
    if decoder.output is None:
        raise ValueError("its weights lack the tensor lm_head.weight")
    file = folder / "1_LogitScore" / "config.json"
    if file.exists() and json.loads(file.read_text("utf-8")).get("false_token_id") is None:
        raise ValueError("it is a reranker that does not answer with yes and no")
    return YesNoHead(decoder.output)


def _tokens_alone(module: Any) -> Any:
    """A decoder called as an encoder is: it needs to know neither padding nor second texts."""
    return lambda tokens, *_: module(tokens)


def _config(folder: Path) -> dict[str, Any]:
    from mlx_lm.utils import load_config

    return load_config(folder)


def _settle(parts: Sequence[Any]) -> tuple[int, tuple[str, ...]]:
    """Evaluates them; their size in bytes, and notes on what was changed for this machine."""
    weights_bytes = 0
    notes: dict[str, None] = {}
    for module in parts:
        if (note := device.adapt(module)) is not None:
            notes[note] = None
        module.eval()
        mx.eval(module.parameters())
        weights_bytes += sum(array.nbytes for _, array in device.parameters(module))
    return weights_bytes, tuple(notes)


@contextmanager
def _faults() -> Iterator[None]:
    """Whatever goes wrong inside becomes a LoadError."""
    try:
        yield
    except LoadError:
        raise
    except FileNotFoundError as error:
        raise LoadError(f"a file of the model is missing: {error}") from error
    except BROKEN as error:
        raise LoadError(str(error).strip() or type(error).__name__) from error
