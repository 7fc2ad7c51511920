"""Text generation: chat and completion requests → events.

    find the model → its text side → prompt, checked against the context → lease → sequences
    → rows → events; in any case a usage row

The prompt is made before the lease is asked for: a request that cannot be carried out starts no
engine, and gets its 400 without waiting for one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from ..protocol.errors import BadRequest
from ..protocol.events import Counted, Event
from ..protocol.grammar import Grammar
from ..protocol.requests import ChatRequest, CompletionRequest, SamplingRequest
from ..protocol.tap import Tap
from ..text.answer_grammar import held_tools
from ..text.divergence import Divergence, RecentPrompts
from ..text.grammar_checker import GrammarChecker
from ..text.stream import Echoed, TextStream
from ..text.tool_grammar import is_strict
from .books import Books, Job
from .lookup import find_model
from .rows import Rows, many, one
from .sampling import ban, check, check_vocabulary, choose_seed, resolve, room
from .task import Shared, Task
from .texts import ModelSide
from .thinking import Budgeted
from .truncate import fitting, reserve

if TYPE_CHECKING:
    from ..supervisor.supervisor import Lease

NO_TEXT = {
    "embedding": "makes embeddings (POST /v1/embeddings)",
    "reranker": "compares texts (POST /v1/rerank)",
}


class Prompt(NamedTuple):
    """One prompt, ready for the engine."""

    tokens: list[int]
    reasoning_open: bool = False
    continues: bool = False
    echo: Echoed | None = None
    text: str = ""  # of a chat
    grammar: Grammar | None = None
    thinking_budget: int | None = None  # tokens
    banned: int | None = None  # a token that may not be generated


class _Plan(NamedTuple):
    """What a request comes down to, whatever its dialect."""

    sampling: SamplingRequest
    n: int
    chat: bool
    tools: list[dict[str, Any]]  # calls of these are looked for in the output
    prompts: Callable[[ModelSide], list[Prompt]]
    text_length: int  # characters to be tokenised, about
    parallel_calls: bool = True
    # Grammars that were asked for, to be checked, each with the field that asked for it.
    wishes: tuple[tuple[Grammar, str], ...] = ()
    keep_alive_s: float | None = None
    keep_prefix: bool = False

    async def made(self, side: ModelSide) -> list[Prompt]:
        """The prompts, without holding others up."""
        return await side.work(self.text_length, lambda: self.prompts(side))


class Generator(Task):
    """Chats and completes."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._recent: dict[str, RecentPrompts] = {}  # by the model's name
        self._grammars = GrammarChecker()

    async def close(self) -> None:
        """Nothing is asked any more."""
        await self._grammars.close()

    def chat(self, request: ChatRequest, tap: Tap | None = None) -> AsyncGenerator[Event, None]:
        """Events as in `protocol.events`, less those that `tap` took. Raises FastMLXError, before
        the first event or between any two. Close the generator (`aclosing`) to give the request
        up."""
        books = Books(request.model, request.meta, request.sampling)
        return self._run(_chat_plan(request), books, tap)

    @contextlib.contextmanager
    def at_tools(self, request: ChatRequest, tools: Job) -> Iterator[None]:
        """The request is among those that run while tools are run for it, too."""
        books = Books(request.model, request.meta, request.sampling)
        books.running_tools(tools)
        self._running.add(books)
        try:
            yield
        finally:
            self._running.remove(books)

    async def count(self, request: ChatRequest) -> int:
        """Tokens of the prompt that `chat` would send for this request. Needs the tokenizer alone:
        nothing is loaded, nothing waits, no usage row. Raises FastMLXError."""
        side = await self.side(request.model)
        (prompt,) = await _chat_plan(request).made(side)
        return len(prompt.tokens)

    async def side(self, model: str) -> ModelSide:
        """What is known about a declared model without its engine. Raises FastMLXError."""
        name, spec = find_model(self._config.settings, model)
        return await self._texts.get(name, spec)

    async def fit(self, request: ChatRequest) -> ChatRequest:
        """The same, less the oldest turns if the prompt would be too long. Raises FastMLXError."""
        name, spec = find_model(self._config.settings, request.model)
        side = await self._texts.get(name, spec)
        context = side.limit(spec)
        if context is None:
            return request

        async def tokens(messages: list[dict[str, Any]]) -> int:
            return await self.count(replace(request, messages=messages))

        most = context - reserve(request.sampling.max_tokens, context)
        return replace(request, messages=await fitting(request.messages, tokens, most))

    async def words(self, model: str, tokens: list[int]) -> str:
        """The text of some tokens of a declared model. Raises FastMLXError."""
        side = await self.side(model)
        return side.text.tokenizer.decode(tokens, skip_special_tokens=False)

    def complete(
        self, request: CompletionRequest, tap: Tap | None = None
    ) -> AsyncGenerator[Event, None]:
        """The same for a completion; choice index = prompt index * n + i."""

        def prompt(side: ModelSide, given: str | list[int]) -> Prompt:
            tokens = side.text.completion_prompt(given)
            if not request.echo:
                return Prompt(tokens, continues=True, grammar=request.grammar)
            text = given if isinstance(given, str) else side.text.tokenizer.decode(given)
            echo = Echoed(text, tokens[0], request.echo_only)
            return Prompt(tokens, continues=True, echo=echo, grammar=request.grammar)

        def prompts(side: ModelSide) -> list[Prompt]:
            return [prompt(side, given) for given in request.prompts]

        length = sum(len(given) for given in request.prompts)
        plan = _Plan(
            request.sampling,
            request.n,
            chat=False,
            tools=[],
            prompts=prompts,
            text_length=length,
            wishes=((request.grammar, request.grammar_param),) if request.grammar else (),
            keep_alive_s=request.keep_alive_s,
        )
        return self._run(plan, Books(request.model, request.meta, request.sampling), tap)

    async def _run(self, plan: _Plan, books: Books, tap: Tap | None) -> AsyncGenerator[Event, None]:
        self._running.add(books)
        try:
            self._begin(books.meta)
            check(plan.sampling)
            await self._grammars.check(plan.wishes, books.turn.owner)
            asked = books.model
            name, spec = find_model(self._config.settings, asked)
            served = asked if spec.adapter_asked(name, asked) is not None else name
            books.model = served
            side = await self._texts.get(name, spec)
            if side.kind in NO_TEXT:
                raise BadRequest(
                    f"{name} {NO_TEXT[side.kind]} and generates no text.", param="model"
                )
            prompts = await plan.made(side)
            context = side.limit(spec)
            if context is not None:  # the engine may know better, see _start
                for prompt in prompts:
                    room(len(prompt.tokens), context)
            books.divergence = self._note(served, prompts)
            lasting = self._supervisor.lease(
                served, keep_alive_s=plan.keep_alive_s, turn=books.turn
            )
            async with books.using(lasting) as lease:
                generations, streams = self._start(plan, prompts, lease, side)
                num_tokens = sum(len(prompt.tokens) for prompt in prompts)
                books.engine_took_it(num_tokens, streams, generations)
                counted = books.meta.counted
                if len(streams) == 1:
                    rows = one(generations[0], streams[0], books, None if counted else tap)
                else:
                    rows = many(generations, streams, books)
                async with aclosing(rows):
                    async for event in rows:
                        if counted:
                            yield Counted(books.usage())
                        yield event
            yield books.usage()
        except BaseException as error:
            books.failed(error)
            raise
        finally:
            self._running.remove(books)
            self._record(books.row())

    def _note(self, name: str, prompts: list[Prompt]) -> Divergence | None:
        """For the log; see `text.divergence`."""
        for gone in self._recent.keys() - self._config.settings.models.keys() - {name}:
            del self._recent[gone]
        return self._recent.setdefault(name, RecentPrompts()).note(prompts[0].text)

    def _start(
        self, plan: _Plan, prompts: list[Prompt], lease: Lease, side: ModelSide
    ) -> tuple[list[Rows], list[TextStream]]:
        generations: list[Rows] = []
        streams: list[TextStream] = []
        sampling = plan.sampling
        check_vocabulary(sampling, lease.ready.vocab_size)  # the tokenizer's may be smaller
        seed = choose_seed(sampling, lease.spec.sampling)
        rooms = [room(len(prompt.tokens), lease.ready.context) for prompt in prompts]
        for number, prompt in enumerate(prompts):
            bare = prompt.grammar is not None
            budget = prompt.thinking_budget
            end = side.text.thinking_end(bare=bare) if budget is not None else []
            for i in range(plan.n):
                resolved = resolve(
                    ban(sampling, prompt.banned),
                    lease.spec.sampling,
                    side.recommended,
                    room=rooms[number],
                    eos_token_ids=side.text.tokenizer.eos_token_ids,
                    choice=i,
                    seed=seed,
                )
                stream = TextStream(
                    number * plan.n + i,
                    side.text,
                    stop=sampling.stop,
                    tools=plan.tools,
                    reasoning_open=prompt.reasoning_open,
                    logprobs=sampling.top_logprobs if sampling.logprobs else None,
                    chat=plan.chat,
                    continues=prompt.continues,
                    thinking_budget=budget,
                    parallel_calls=plan.parallel_calls,
                    echo=prompt.echo,
                )
                streams.append(stream)
                generate = partial(
                    lease.generate,
                    prompt.tokens,
                    resolved,
                    grammar=prompt.grammar,
                    keep=plan.keep_prefix,
                )
                generations.append(Budgeted(generate, stream, end) if end else generate())
        return generations, streams


def _chat_plan(request: ChatRequest) -> _Plan:
    tools = request.tools if request.tool_choice != "none" else []

    def prompts(side: ModelSide) -> list[Prompt]:
        made = side.text.prompt_of(request)
        grammar = side.text.grammar(request, made)
        budget = request.thinking_budget
        scored = request.sampling.prompt_logprobs is not None
        return [
            Prompt(
                made.tokens,
                made.reasoning_open,
                made.continues,
                echo=Echoed("", made.tokens[0], only=False) if scored else None,
                text=made.text,
                grammar=grammar,
                thinking_budget=made.thinking_budget if budget is None else budget,
                banned=side.text.call_token if request.tools and not tools else None,
            )
        ]

    length = _text_length(request.messages) + _text_length(request.tools)
    return _Plan(
        request.sampling,
        request.n,
        chat=True,
        tools=tools,
        prompts=prompts,
        text_length=length,
        parallel_calls=request.parallel_tool_calls,
        wishes=tuple(_wishes(request)),
        keep_alive_s=request.keep_alive_s,
        keep_prefix=request.keep_prefix,
    )


def _wishes(request: ChatRequest) -> Iterator[tuple[Grammar, str]]:
    """What must compile: the answer's grammar and, where calls are held to one, the schemas of the
    tools that may be called."""
    if request.grammar is not None:
        yield request.grammar, request.grammar_param
    for i, tool in enumerate(held_tools(request)):
        function = tool["function"]
        pattern = request.input_patterns.get(function["name"])
        if request.tool_name not in (None, function["name"]):
            continue
        if pattern is not None:
            yield Grammar("regex", pattern.regex), pattern.param
        else:
            schema = json.dumps(function.get("parameters") or {})
            where = f"tools[{i}].function.parameters"
            yield Grammar("json_schema", schema, not is_strict(tool)), where


def _text_length(value: Any) -> int:
    """Characters of text in messages or tools, about."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_text_length, value.values()))
    if isinstance(value, list):
        return sum(map(_text_length, value))
    return 0
