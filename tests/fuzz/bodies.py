"""The bodies of requests, read as the endpoints read them, as far as no model is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastmlx.config.settings import Settings
from fastmlx.daemon.api import ollama_request, rerank
from fastmlx.daemon.api.anthropic_request import MessagesFields, read_request
from fastmlx.daemon.api.body import read_json
from fastmlx.daemon.api.openai_chat import ChatFields, read_chat
from fastmlx.daemon.api.openai_completions import CompletionFields, read_completion
from fastmlx.daemon.api.openai_embeddings import EmbeddingFields, read_embeddings
from fastmlx.daemon.api.responses_fields import ResponsesFields, chat_request, read_asked
from fastmlx.daemon.api.responses_input import messages_of
from fastmlx.daemon.api.responses_seal import Seal
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.protocol.requests import ChatRequest, CompletionRequest
from fastmlx.daemon.tasks.generate import _wishes
from fastmlx.daemon.tasks.sampling import check
from fastmlx.daemon.text.answer_grammar import held_tools
from fastmlx.daemon.text.compile_grammar import first_fault
from fastmlx.daemon.text.conversation import canonical
from fastmlx.daemon.text.held_calls import Around, held_calls
from fastmlx.daemon.text.messages import Accepts, normalized
from fastmlx.daemon.text.model_text import TOOL_PARSERS
from fastmlx.daemon.text.tool_grammar import Rules, calls

SETTINGS = Settings()
SEAL = Seal(bytes(32))
FORMATS = [
    (module.FORMS, getattr(module, "AROUND", Around()), module.Parser.format.starts)
    for module in map(TOOL_PARSERS.get, TOOL_PARSERS.names())
    if hasattr(module, "FORMS")
]
# Templates that take messages as they are, and such that take little.
ACCEPTS = [Accepts(*[True] * len(Accepts._fields)), Accepts(*[False] * len(Accepts._fields))]


class Reader(NamedTuple):
    shape: type  # of the body's fields
    read: Callable[[bytes], Any]


def _responses(body: bytes) -> ChatRequest:
    asked = read_asked(read_json(body))
    messages = messages_of(asked.items, asked.tools, SEAL)
    return chat_request(asked, messages, client=None, stream=False)


READERS = {
    "chat": Reader(ChatFields, lambda body: read_chat(body).request),
    "completions": Reader(CompletionFields, lambda body: read_completion(body).request),
    "embeddings": Reader(EmbeddingFields, lambda body: read_embeddings(body).request),
    "messages": Reader(MessagesFields, lambda body: read_request(body).request),
    "responses": Reader(ResponsesFields, _responses),
    "ollama chat": Reader(
        ollama_request.OllamaChatFields,
        lambda body: ollama_request.read_chat(body, SETTINGS).request,
    ),
    "ollama generate": Reader(
        ollama_request.OllamaGenerateFields,
        lambda body: ollama_request.read_generate(body, SETTINGS).request,
    ),
    "rerank": Reader(rerank.RerankFields, rerank.read_rerank),
    "score": Reader(rerank.ScoreFields, rerank.read_score),
}


def read_body(name: str, body: bytes) -> None:
    """All that is done with a body before a model is asked. Raises BadRequest."""
    request = READERS[name].read(body)
    if isinstance(request, ChatRequest | CompletionRequest):
        check(request.sampling)
    if not isinstance(request, ChatRequest):
        return
    messages, _ = canonical(request.messages, request.tools)
    for accepts in ACCEPTS:
        normalized(messages, accepts)
    wishes = [(each.kind, each.source, each.lenient) for each, _ in _wishes(request)]
    if first_fault(wishes) is not None:
        return
    tools = held_tools(request)
    if not tools:
        return
    for forms, around, starts in FORMATS:
        try:
            texts = {name: each.regex for name, each in request.input_patterns.items()}
            held_calls(forms, around, starts, Rules(), tools, (), texts)
            calls(
                forms,
                Rules(),
                tools,
                name=request.tool_name,
                parallel=request.parallel_tool_calls,
                texts=texts,
            )
        except ValueError as error:
            raise BadRequest(str(error)) from None
