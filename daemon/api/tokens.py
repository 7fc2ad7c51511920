"""POST /tokenize, /detokenize and /apply-template: what the model would read, without asking it.

Sources: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html (Tokenizer API);
llama-server's /apply-template. `model` may be left out where only one is declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import BadRequest
from ..protocol.requests import ChatRequest
from .body import convert, read_json
from .openai_chat import ChatFields, read_chat
from .openai_fields import check_model
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front
    from ..tasks.tokens import TokenTools

blueprint = Blueprint("tokens")


class TokenizeFields(msgspec.Struct, kw_only=True):
    model: str | None = None
    prompt: str | None = None
    messages: list[Any] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeFields(msgspec.Struct, kw_only=True):
    model: str | None = None
    tokens: list[int]


@blueprint.post("/tokenize", name="tokenize", ctx_body=TokenizeFields)
async def tokenize(request: Request) -> HTTPResponse:
    tools = _tools(request)
    raw = read_json(request.body)
    fields = convert(raw, TokenizeFields)
    special, texts = fields.add_special_tokens, bool(fields.return_token_strs)
    if (fields.prompt is None) == (fields.messages is None):
        raise BadRequest("Either prompt or messages is needed.", param="prompt")
    if fields.prompt is not None:
        model = _model(tools, fields.model)
        # A template writes the special tokens itself; a plain text has none.
        add = special is not False
        found = await tools.tokenize(model, fields.prompt, special=add, texts=texts)
    else:
        chat = _chat(tools, raw)
        found = await tools.tokenize_chat(chat, special=bool(special), texts=texts)
    return json_reply(
        {
            "count": len(found.tokens),
            "max_model_len": found.context,
            "tokens": found.tokens,
            "token_strs": found.texts,
        }
    )


@blueprint.post("/detokenize", name="detokenize", ctx_body=DetokenizeFields)
async def detokenize(request: Request) -> HTTPResponse:
    tools = _tools(request)
    fields = convert(read_json(request.body), DetokenizeFields)
    if any(token < 0 for token in fields.tokens):
        raise BadRequest("A token id cannot be negative.", param="tokens")
    text = await tools.detokenize(_model(tools, fields.model), fields.tokens)
    return json_reply({"prompt": text})


@blueprint.post("/apply-template", name="apply_template", ctx_body=ChatFields)
async def apply_template(request: Request) -> HTTPResponse:
    tools = _tools(request)
    chat = _chat(tools, read_json(request.body))
    return json_reply({"prompt": await tools.apply_template(chat)})


def _tools(request: Request) -> TokenTools:
    front: Front = request.app.ctx.front
    return front.token_tools


def _model(tools: TokenTools, name: str | None) -> str:
    return check_model(tools.model_or_only(name))


def _chat(tools: TokenTools, raw: dict[str, Any]) -> ChatRequest:
    """What a chat request with these fields would ask."""
    name = raw.get("model")
    model = tools.model_or_only(name if isinstance(name, str) else None)
    return read_chat(msgspec.json.encode(raw | {"model": model})).request
