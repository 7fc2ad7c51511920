"""The text side of the models in use: tokenizers, templates and parsers, kept while they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..hub.background import in_background
from ..hub.catalog import resolve
from ..hub.describe import declared_kind, describe
from ..protocol.errors import BadRequest, ModelFailed
from ..text.model_text import ModelText
from ..text.sandbox import TooSlow, in_brief
from .sampling import GenerationConfig

if TYPE_CHECKING:
    from ...config.settings import ModelSpec


T = TypeVar("T")

LONG_TEXT = 5_000  # characters; some 3 ms of templating and tokenising: work for a thread
AT_ONCE = 4  # threads of one model
WORK_S = 60.0  # for a text; a million tokens take a few


class ModelSide(NamedTuple):
    """What the front knows about a model without its engine."""

    folder: Path
    text: ModelText
    recommended: GenerationConfig
    context: int | None  # tokens, as the model's config.json says
    kind: str  # text, embedding …
    architecture: str  # config.json's model_type
    turns: asyncio.Semaphore  # of threads that work on texts for it

    def limit(self, spec: ModelSpec) -> int | None:
        """Tokens that a request may have: what the entry says, or else the model."""
        return spec.context if isinstance(spec.context, int) else self.context

    async def work(self, length: int, work: Callable[[], T]) -> T:
        """`work` on texts of so many characters. It holds nobody else up: neither by much text, nor
        because the model's template or tokenizer were made to take for ever.

        Raises what it raises; ModelFailed when it takes too long.
        """
        if length <= LONG_TEXT and self.text.is_quick:
            try:
                with in_brief():
                    return work()
            except BadRequest as error:
                if not isinstance(error.__cause__, TooSlow):
                    raise
                self.text.is_quick = False
        return await self.apart(work)

    async def apart(self, work: Callable[[], T]) -> T:
        """In a thread. One that does not come back keeps its place among those of this model."""
        await self.turns.acquire()
        thread = asyncio.ensure_future(in_background(work))

        def ended(_: asyncio.Future[T]) -> None:
            self.turns.release()
            if not thread.cancelled():
                thread.exception()  # looked at, also when nobody waits for it any more

        thread.add_done_callback(ended)
        try:
            return await asyncio.wait_for(asyncio.shield(thread), WORK_S)
        except TimeoutError:
            raise ModelFailed(
                f"The model's tokenizer or template takes longer than {WORK_S:g} s for this text."
            ) from None


class _Entry(NamedTuple):
    key: tuple[object, ...]  # what of the spec the text depends on
    loading: asyncio.Future[ModelSide]


class Texts:
    """Loads each model's text side once, in a thread, and shares it between requests.

    A tokenizer with a big vocabulary holds tens of megabytes: `keep` drops those of models that
    are not loaded any more. Use it from one event loop only.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    async def get(self, name: str, spec: ModelSpec) -> ModelSide:
        """Raises ModelFailed when the model's folder or its tokenizer cannot be read; the next call
        tries again."""
        key = text_fields(spec)
        entry = self._entries.get(name)
        if entry is None or entry.key != key:
            loading = asyncio.ensure_future(asyncio.to_thread(_load, spec))
            entry = self._entries[name] = _Entry(key, loading)
            loading.add_done_callback(lambda done: self._forget_failure(name, done))
        # A client that goes away must not cancel what others wait for.
        return await asyncio.shield(entry.loading)

    def keep(self, names: Collection[str]) -> None:
        """Forgets all models but these. Requests that run keep what they hold."""
        for name in self._entries.keys() - set(names):
            if self._entries[name].loading.done():
                del self._entries[name]

    def _forget_failure(self, name: str, done: asyncio.Future[ModelSide]) -> None:
        failed = done.cancelled() or done.exception() is not None
        if failed and name in self._entries and self._entries[name].loading is done:
            del self._entries[name]


def text_fields(spec: ModelSpec) -> tuple[object, ...]:
    """What of an entry, and of its template's file, the text side depends on."""
    template = spec.chat_template
    try:
        edited = None if template is None else template.stat().st_mtime_ns
    except OSError:
        edited = None
    return (
        spec.path,
        spec.revision,
        spec.kind,
        template,
        edited,
        spec.chat_template_args,
        spec.system_prompt,
        spec.tool_parser,
        spec.reasoning_parser,
    )


def _load(spec: ModelSpec) -> ModelSide:
    folder = resolve(spec.path, spec.revision)
    info = describe(folder)
    kind = declared_kind(spec.kind, info)
    recommended = GenerationConfig.load(folder)
    text = ModelText.load(folder, spec)
    turns = asyncio.Semaphore(AT_ONCE)
    return ModelSide(folder, text, recommended, info.context, kind, info.architecture, turns)
