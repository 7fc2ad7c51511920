"""A model's card: all that its files and its entry in config.yaml say, without loading it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..hub.catalog import resolve
from ..hub.describe import ModelInfo, declared_kind, describe, read_config
from ..hub.footprint import RESERVED_TOKENS, load_bytes
from ..hub.parameters import parameters
from ..protocol.errors import ModelFailed
from ..supervisor.model import processes_of
from ..text.chat_templates import CONFIG, chat_templates, read_json
from ..text.model_text import REASONING_PARSERS, TOOL_PARSERS, choose_parser

if TYPE_CHECKING:
    from ...config.settings import ModelSpec

CONTEXTS = (4096, 16384, 32768, 65536, 131072, 262144, 1048576)  # for which memory is estimated
_ADAPTER_FILES = ("s.safetensors", "_model.safetensors")


class Need(msgspec.Struct, frozen=True):
    """Memory with one sequence of so many tokens."""

    tokens: int
    kv_bytes: int
    total_bytes: int  # weights, room for activations, KV
    fits: bool | None  # None: no limit was given


class CardAdapter(msgspec.Struct, frozen=True):
    name: str | None  # None: always applied
    path: str
    problem: str | None  # why it cannot be used
    num_bytes: int = 0  # of its weights


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of `fastmlx info --json`."""

    path: str  # as it was asked for
    folder: str
    architecture: str
    kind: str
    parameters: int
    quantization: str | None  # None for plain floats
    weights_bytes: int
    num_layers: int | None
    context: int | None  # tokens; of the entry, else of the model
    own_context: int | None  # of the model
    kv_bytes_per_token: int
    kv_layers: dict[str, int]  # full, sliding (and their window), other: a state of fixed size
    memory: list[Need]
    needs_bytes: int  # that must be free to load it
    room_tokens: int  # of conversations that are reckoned in it
    limit_bytes: int | None
    fits: bool | None  # None: no limit was given
    chat_templates: list[str]  # their names; none: it cannot chat
    template_file: str | None  # of the entry
    tool_parser: str | None  # None: its calls stay text
    reasoning_parser: str | None  # None: it does not think, or not in marks that we know
    adapters: list[CardAdapter]
    problems: list[str]  # what would keep it from answering, though its weights are there


def card(spec: ModelSpec, limit_bytes: int | None = None) -> Card:
    """Reads headers, JSON and templates: milliseconds to tenths of a second. Blocking.

    Raises ModelFailed when the folder, its config.json or its weights are not there or damaged.
    """
    folder = resolve(spec.path, spec.revision)
    info = describe(folder)
    own = info.context
    context = own if spec.context == "auto" else spec.context
    problems: list[str] = []
    templates: dict[str, str] = {}
    try:
        templates = templates_of(folder, spec)
    except ModelFailed as error:
        problems.append(error.message)
    joined = "\n".join(templates[name] for name in ("default", "tool_use") if name in templates)
    parsers: list[str | None] = []
    chosen = ((TOOL_PARSERS, spec.tool_parser), (REASONING_PARSERS, spec.reasoning_parser))
    for registry, asked in chosen:
        try:
            module = choose_parser(registry, asked, joined)
        except ModelFailed as error:
            problems.append(error.message)
            module = None
        parsers.append(module.__name__.rpartition(".")[2] if module is not None else None)
    adapters = [_adapter(each.name, each.path) for each in spec.adapters]
    memory = _Memory(info, context, spec, sum(each.num_bytes for each in adapters))
    needs_bytes = memory.needs_bytes
    return Card(
        path=spec.path,
        folder=str(folder),
        architecture=info.architecture,
        kind=declared_kind(spec.kind, info),
        parameters=parameters(folder, read_config(folder)),
        quantization=info.quantization,
        weights_bytes=info.weights_bytes,
        num_layers=info.num_layers,
        context=context,
        own_context=own,
        kv_bytes_per_token=info.kv_bytes_per_token,
        kv_layers=_kv_layers(info),
        memory=list(memory.by_length(limit_bytes)),
        needs_bytes=needs_bytes,
        room_tokens=memory.room_tokens,
        limit_bytes=limit_bytes,
        fits=None if limit_bytes is None else needs_bytes <= limit_bytes,
        chat_templates=sorted(templates),
        template_file=str(spec.chat_template) if spec.chat_template is not None else None,
        tool_parser=parsers[0],
        reasoning_parser=parsers[1],
        adapters=adapters,
        problems=problems,
    )


def templates_of(folder: Path, spec: ModelSpec) -> dict[str, str]:
    """Those of the entry, or else of the folder. Raises ModelFailed."""
    if spec.chat_template is None:
        return chat_templates(folder, read_json(folder / CONFIG))
    try:
        return {"default": spec.chat_template.expanduser().read_text("utf-8")}
    except (OSError, ValueError) as error:
        raise ModelFailed(f"The chat template cannot be read: {error}") from error


def _kv_layers(info: ModelInfo) -> dict[str, int]:
    kv = info.kv
    found = {"full": kv.full_layers, "sliding": kv.sliding_layers}
    if kv.sliding_layers:
        found["window"] = kv.window
    other = (info.num_layers or 0) - kv.full_layers - kv.sliding_layers
    return found | ({"other": other} if other > 0 else {})


class _Memory:
    """What the processes of a model on this machine take, as the supervisor reckons it."""

    def __init__(
        self, info: ModelInfo, context: int | None, spec: ModelSpec, adapter_bytes: int
    ) -> None:
        processes, here = processes_of(spec)
        self._info = info
        self._context = context
        self._share = here / processes
        need_bytes = load_bytes(info, context, processes=processes, here=here)
        self.needs_bytes = need_bytes + adapter_bytes
        self.room_tokens = min(context or info.context or RESERVED_TOKENS, RESERVED_TOKENS)
        self._base_bytes = self.needs_bytes - self._kv_bytes(self.room_tokens)

    def _kv_bytes(self, tokens: int) -> int:
        return int(self._info.kv.bytes_of(tokens) * self._share)

    def by_length(self, limit_bytes: int | None) -> Iterator[Need]:
        """One row for each usual length below the model's, and one for its own."""
        own = self._context
        for tokens in [n for n in CONTEXTS if own is None or n < own] + ([own] if own else []):
            kv_bytes = self._kv_bytes(tokens)
            total_bytes = self._base_bytes + kv_bytes
            fits = None if limit_bytes is None else total_bytes <= limit_bytes
            yield Need(tokens, kv_bytes, total_bytes, fits)


def _adapter(name: str | None, path: str) -> CardAdapter:
    """mlx-lm's layout, or PEFT's."""
    try:
        folder = resolve(path)
    except ModelFailed as error:
        return CardAdapter(name, path, error.message)
    files = [folder / f"adapter{end}" for end in _ADAPTER_FILES]
    num_bytes = sum(file.stat().st_size for file in files if file.is_file())
    if not (folder / "adapter_config.json").exists():
        return CardAdapter(name, path, f"{folder} has no adapter_config.json.")
    problem = None if num_bytes else f"{folder} has no weights of an adapter."
    return CardAdapter(name, path, problem, num_bytes)
