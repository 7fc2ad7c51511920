"""The fields that Ollama's requests have in common → ours.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md and docs/modelfile.md there
(`options`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol.errors import BadRequest
from ..protocol.grammar import Grammar
from ..protocol.requests import SamplingRequest
from .body import convert, one_of, refuse
from .openai_fields import MAX_STOP_LENGTH, MAX_STOPS, check_model

if TYPE_CHECKING:
    from ...config.settings import Settings

LATEST = ":latest"
# The switches of chat templates: Qwen's and most others', DeepSeek's and Granite's.
_SWITCHES = ("enable_thinking", "thinking")
EFFORTS = ("low", "medium", "high")


class Options(msgspec.Struct, kw_only=True):
    """`options`. Those about loading (num_gpu, num_thread, use_mmap …) are accepted and change
    nothing, as everything here is on the GPU and in its memory."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    num_predict: int | None = None
    num_ctx: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


# Known options that would change the answer; the test accepts the values that would not.
UNSUPPORTED = {
    "mirostat": one_of(0),
    "typical_p": one_of(1, 1.0),
    "tfs_z": one_of(1, 1.0),
    "penalize_newline": one_of(True),
}


def read_options(options: Mapping[str, Any] | None) -> Options:
    """Raises BadRequest that names `options.…`. Whole numbers may be written as 8192.0."""
    whole = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in (options or {}).items()
    }
    try:
        refuse(whole, UNSUPPORTED)
        read = convert(whole, Options)
    except BadRequest as error:
        raise _bad(str(error.param), error.message) from None
    if read.num_ctx is not None and read.num_ctx < 1:
        raise _bad("num_ctx", f"num_ctx must be at least 1, not {read.num_ctx}.")
    return read


def check_context(options: Options, context: int | None) -> None:
    """Raises BadRequest when the client counts on more context than there is, in tokens. Less is
    no problem: prompts are never cut here."""
    if options.num_ctx is not None and context is not None and options.num_ctx > context:
        raise _bad(
            "num_ctx",
            f"num_ctx is {options.num_ctx}, but this model's context length is {context} tokens.",
        )


def sampling(options: Options, logprobs: bool | None, top_logprobs: int | None) -> SamplingRequest:
    """Ranges are checked in `tasks.sampling`. No answer has a limit where num_predict is -1 (none),
    -2 (the context's) or 0, and -1 is no seed."""
    unlimited = options.num_predict is None or options.num_predict <= 0
    no_seed = options.seed is None or options.seed < 0
    if top_logprobs and not logprobs:
        raise BadRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
    return SamplingRequest(
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        min_p=options.min_p,
        repetition_penalty=_repeat_penalty(options),
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        seed=None if no_seed else options.seed,
        max_tokens=None if unlimited else options.num_predict,
        stop=_stops(options.stop),
        logprobs=bool(logprobs),
        top_logprobs=top_logprobs or 0,
    )


def _repeat_penalty(options: Options) -> float | None:
    """Ours looks at the whole prompt and output, which Ollama calls -1."""
    penalty, last = options.repeat_penalty, options.repeat_last_n
    if last == 0:
        return 1.0
    if penalty not in (None, 1.0) and last not in (None, -1):
        raise _bad("repeat_last_n", "repeat_last_n: only -1 (everything) and 0 (off) are possible.")
    return penalty


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > MAX_STOPS or any(len(text) > MAX_STOP_LENGTH for text in stops):
        raise _bad(
            "stop",
            f"stop: at most {MAX_STOPS} texts of up to {MAX_STOP_LENGTH} characters are accepted.",
        )
    return tuple(text for text in stops if text)


def _bad(option: str, message: str) -> BadRequest:
    return BadRequest(message, param=f"options.{option}")


def read_format(value: Any) -> Grammar | None:
    """`format`: nothing, "json", or a JSON schema. Raises BadRequest; whether the schema compiles
    is found out later, by the task."""
    if value is None or value == "":
        return None
    if value == "json":
        return Grammar("json_schema", '{"type": "object"}')
    if isinstance(value, dict):
        return Grammar("json_schema", json.dumps(value), lenient=True)
    raise BadRequest('format must be "json" or a JSON schema (an object).', param="format")


def read_think(value: Any) -> dict[str, Any]:
    """`think` as variables of the chat template. Raises BadRequest."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return dict.fromkeys(_SWITCHES, value)
    if value in EFFORTS:
        return dict.fromkeys(_SWITCHES, True) | {"reasoning_effort": value}
    raise BadRequest(f"think must be true, false or one of {', '.join(EFFORTS)}.", param="think")


def model_name(settings: Settings, name: str | None) -> str:
    """The name to look up: clients put `:latest` behind names that have no tag. Raises
    BadRequest."""
    name = check_model(name or "")
    if name.endswith(LATEST) and settings.find(name) is None:
        return name.removesuffix(LATEST)
    return name
