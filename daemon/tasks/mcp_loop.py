"""Chat with tools of MCP servers, which the daemon runs itself: one request, several rounds.

    tools of the servers beside the client's ─► generate ─► run the calls ─► generate ─► …

Every round is a request of its own to the generator, with a usage row of its own; the client sees
one answer, one `Usage` that sums them, and an `McpCall` for every call. What goes wrong with a tool
is told to the model, as the tool's answer. What is decided stands in `mcp_rounds`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from ..mcp.names import function_names, functions
from ..protocol.errors import BadRequest, ContextTooLong, FastMLXError
from ..protocol.events import Counted, Event, Finished, McpCall, Usage
from .mcp_rounds import Call, Round, tool_message, total

if TYPE_CHECKING:
    from ...config.mcp import McpSettings
    from ..mcp.connection import McpTool
    from ..mcp.servers import McpServers
    from ..protocol.requests import ChatRequest, McpWanted
    from .generate import Generator

log = logging.getLogger(__name__)

# For servers that connect for the first time just now, as after the daemon's start.
PATIENCE_S = 15.0
TOO_LONG = "Error: the result does not fit into the context that is left. Ask for less."


class Tools:
    """The MCP tools of one request, by the names that the model sees."""

    def __init__(self, servers: McpServers, named: dict[str, McpTool], timeout_s: float) -> None:
        self.named = named
        self._servers = servers
        self._timeout_s = timeout_s

    def event(self, call: Call, number: int) -> McpCall:
        """The call, about to be run."""
        tool = self.named[call.function]
        return McpCall(
            index=0,
            id=call.id,
            server=tool.server,
            name=tool.name,
            arguments=call.arguments or "{}",
            round=number,
            status="running",
        )

    async def run(self, call: Call, event: McpCall) -> McpCall:
        """Raises nothing but cancellation: what goes wrong is the output."""
        since = time.perf_counter()
        try:
            arguments = _arguments(event.arguments)
            result = await self._servers.call(self.named[call.function], arguments, self._timeout_s)
            output, failed = result.text, result.is_error
        except FastMLXError as error:
            output, failed = f"Error: {error.message}", True
        except Exception:
            log.exception("MCP tool %s of %s", event.name, event.server)
            output, failed = "Error: the call failed for a reason that only the log knows.", True
        return msgspec.structs.replace(
            event,
            status="failed" if failed else "completed",
            output=output,
            duration_s=time.perf_counter() - since,
        )


async def chat(
    generator: Generator, servers: McpServers, settings: McpSettings, request: ChatRequest
) -> AsyncGenerator[Event, None]:
    """Events as of `Generator.chat`, and `McpCall`; `request.mcp` says which servers.

    Raises FastMLXError, BadRequest among them for what does not go with the loop. Close the
    generator to give the request up: calls that run are cancelled.
    """
    assert request.mcp is not None
    _check(request)
    calls_left = request.mcp.max_calls
    named = await _named(servers, request.mcp, request)
    tools = Tools(servers, named, settings.timeout)
    request = msgspec.structs.replace(request, mcp=None, tools=[*request.tools, *functions(named)])
    _check_choice(request)
    since = time.perf_counter()
    usages: list[Usage] = []
    results: list[dict[str, Any]] = []  # of the last round
    said = False
    while True:
        number = len(usages) + 1
        round_ = Round(number, named, apart=said)
        try:
            async with aclosing(generator.chat(request)) as events:
                async for event in events:
                    if isinstance(event, Counted):
                        yield Counted(total([*usages, event.usage], time.perf_counter() - since))
                    elif (shown := round_.take(event)) is not None:
                        yield shown
        except ContextTooLong:
            if not results or all(result["content"] == TOO_LONG for result in results):
                raise
            for result in results:
                result["content"] = TOO_LONG
            continue
        usages.append(round_.usage)
        said = said or round_.said
        left = _tokens_left(request, round_.usage)
        following = round_.next(
            max_rounds=settings.max_rounds, tokens_left=left, calls_left=calls_left
        )
        calls = [(call, tools.event(call, number)) for call in round_.calls]
        if following.reason is not None:
            for _, event in calls:
                output = following.skipped
                yield msgspec.structs.replace(event, status="skipped", output=output)
            yield Finished(0, following.reason, round_.stop)
            yield total(usages, time.perf_counter() - since)
            return
        calls_left = None if calls_left is None else calls_left - len(calls)
        outputs: dict[int, str] = {}
        work = _Work(tools, calls)
        with generator.at_tools(request, work):
            async with aclosing(work.run()) as told:
                async for place, event in told:
                    outputs[place] = event.output
                    yield event
        results = [tool_message(call, outputs[i]) for i, (call, _) in enumerate(calls)]
        request = _continued(request, [round_.message(), *results], left)


async def offered(servers: McpServers, request: ChatRequest) -> ChatRequest:
    """The request of the first round: with the tools of its servers among its own."""
    if request.mcp is None:
        return request
    named = await _named(servers, request.mcp, request)
    return msgspec.structs.replace(request, mcp=None, tools=[*request.tools, *functions(named)])


class _Work:
    """The calls of one round."""

    id = 0  # no engine knows it

    def __init__(self, tools: Tools, calls: list[tuple[Call, McpCall]]) -> None:
        self._tools = tools
        self._calls = calls
        self._given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def give_up(self, error: FastMLXError) -> None:
        """`run` ends with this error; ignored after the end."""
        if not self._given_up.done():
            self._given_up.set_exception(error)

    async def run(self) -> AsyncGenerator[tuple[int, McpCall], None]:
        """Runs all at once; (place, event) when one begins and when it has ended."""
        for place, (_, event) in enumerate(self._calls):
            yield place, event
        running = {
            asyncio.create_task(self._tools.run(call, event)): place
            for place, (call, event) in enumerate(self._calls)
        }
        try:
            waiting = set(running)
            while waiting:
                await asyncio.wait({*waiting, self._given_up}, return_when=asyncio.FIRST_COMPLETED)
                if self._given_up.done():
                    self._given_up.result()
                done = {task for task in waiting if task.done()}
                waiting -= done
                for task in done:
                    yield running[task], task.result()
        finally:
            if not self._given_up.cancel():
                self._given_up.exception()  # it was told, or nobody listens any more
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _named(
    servers: McpServers, wanted: McpWanted, request: ChatRequest
) -> dict[str, McpTool]:
    if request.tool_choice == "none":
        return {}
    found = await servers.ready_tools(wanted.servers, PATIENCE_S)
    allowed = [
        tool
        for tool in found
        if tool.name in wanted.allowed.get(tool.server, (tool.name,))
        and tool.name not in wanted.denied.get(tool.server, ())
    ]
    return function_names(allowed, {tool["function"]["name"] for tool in request.tools})


def _check(request: ChatRequest) -> None:
    if request.n > 1:
        raise BadRequest("mcp needs n: 1.", param="n")
    if request.continue_final_message:
        raise BadRequest(
            "continue_final_message cannot be used together with mcp.",
            param="continue_final_message",
        )


def _check_choice(request: ChatRequest) -> None:
    if request.tool_choice != "required":
        return
    names = {tool["function"]["name"] for tool in request.tools}
    if not names:
        raise BadRequest("tool_choice needs tools; no MCP server has any.", param="tool_choice")
    if request.tool_name is not None and request.tool_name not in names:
        raise BadRequest(
            f"tool_choice: there is no tool '{request.tool_name[:100]}'.",
            param="tool_choice.function.name",
        )


def _tokens_left(request: ChatRequest, usage: Usage) -> int | None:
    limit = request.sampling.max_tokens
    return None if limit is None else limit - usage.output_tokens


def _continued(
    request: ChatRequest, messages: list[dict[str, Any]], tokens_left: int | None
) -> ChatRequest:
    """The next round's request. A tool that was demanded has been called by then."""
    return msgspec.structs.replace(
        request,
        messages=[*request.messages, *messages],
        tool_choice="auto" if request.tool_choice == "required" else request.tool_choice,
        tool_name=None,
        sampling=msgspec.structs.replace(request.sampling, max_tokens=tokens_left),
    )


def _arguments(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest("The arguments must be a JSON object.") from None
