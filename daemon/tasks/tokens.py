"""Text ⇄ tokens for clients: the model's tokenizer and chat template, without its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..protocol.errors import BadRequest
from ..protocol.requests import ChatRequest
from .lookup import allowed_models, find_model
from .texts import ModelSide, Texts

if TYPE_CHECKING:
    from ...config.settings import Settings
    from ...config.state import ConfigState

MAX_KNOWN = 10  # models that an error names


class Tokenized(NamedTuple):
    tokens: list[int]
    texts: list[str] | None  # of each token, U+FFFD for parts of characters; None: not asked for
    context: int | None  # tokens that the model may read and write


class TokenTools:
    """Nothing is loaded, nothing waits, no usage row. All raise FastMLXError."""

    def __init__(self, config: ConfigState, texts: Texts) -> None:
        self._config = config
        self._texts = texts

    def model_or_only(self, name: str | None) -> str:
        """`name`, or the one model that there is for the caller."""
        return name or _only(self._config.settings)

    async def tokenize(self, model: str, prompt: str, *, special: bool, texts: bool) -> Tokenized:
        """Of a plain text. `special`: with the special tokens around a prompt."""
        side, context = await self._side(model)
        return await side.apart(lambda: _tokenized(side, prompt, context, special, texts))

    async def tokenize_chat(self, request: ChatRequest, *, special: bool, texts: bool) -> Tokenized:
        """Of a conversation as the model would read it."""
        side, context = await self._side(request.model)
        text = await side.apart(lambda: _chat_text(side, request))
        return await side.apart(lambda: _tokenized(side, text, context, special, texts))

    async def detokenize(self, model: str, tokens: list[int]) -> str:
        side, _ = await self._side(model)
        decode = side.text.tokenizer.decode
        try:
            return await side.apart(lambda: decode(tokens, skip_special_tokens=False))
        except OverflowError as error:
            raise BadRequest("A token id is too large.", param="tokens") from error

    async def apply_template(self, request: ChatRequest) -> str:
        """The prompt that a chat request would become, as text."""
        side, _ = await self._side(request.model)
        return await side.apart(lambda: _chat_text(side, request))

    async def _side(self, model: str) -> tuple[ModelSide, int | None]:
        name, spec = find_model(self._config.settings, model)
        side = await self._texts.get(name, spec)
        return side, side.limit(spec)


def _only(settings: Settings) -> str:
    models = list(allowed_models(settings))
    if len(models) == 1:
        return models[0]
    known = ", ".join(models[:MAX_KNOWN]) or "none"
    raise BadRequest(f"model must name one of the declared models: {known}.", param="model")


def _chat_text(side: ModelSide, request: ChatRequest) -> str:
    return side.text.prompt_of(request).text


def _tokenized(
    side: ModelSide, text: str, context: int | None, special: bool, texts: bool
) -> Tokenized:
    tokenizer = side.text.tokenizer
    tokens = tokenizer.encode(text, add_special_tokens=special)
    told = [tokenizer.label(token)[0] for token in tokens] if texts else None
    return Tokenized(tokens, told, context)
