"""Coding agents → how each is started against this server, by its environment and its flags only.

No file of theirs is read or written. What is true of a tool was seen with the version named beside
it. A key goes by the environment alone: arguments can be read by every user of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

NO_KEY = "fastmlx"  # most tools do not start without one
PATIENCE_MS = 1_800_000  # a long prompt is computed for minutes before the first word
MOST_OUTPUT = 32_000  # tokens


class Here(NamedTuple):
    """This server, and the model that the tool is to use."""

    url: str  # http://host:port
    key: str | None  # None: the server asks for none
    model: str
    context: int | None = None  # tokens; None: not known before it was loaded

    @property
    def secret(self) -> str:
        return self.key or NO_KEY

    @property
    def output(self) -> int | None:
        """Tokens that an answer may have, so that prompt and answer fit together."""
        return None if self.context is None else max(1, min(MOST_OUTPUT, self.context // 4))


class Start(NamedTuple):
    """What is executed."""

    arguments: tuple[str, ...]  # the program first
    environment: Mapping[str, str]  # beside the user's own
    without: Sequence[str] = ()  # variables of the user's that would win


class Tool(NamedTuple):
    summary: str
    program: str
    install: str  # how it is got
    start: Callable[[Here], Start]


def _claude(here: Here) -> Start:
    environment = {
        "ANTHROPIC_BASE_URL": here.url,
        "ANTHROPIC_AUTH_TOKEN": here.secret,
        "ANTHROPIC_MODEL": here.model,
        # Another name for small work would be a model that is not declared here.
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": here.model,
        # A line that differs in every conversation, before everything that could be cached.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": str(PATIENCE_MS),
    }
    if here.context is not None:
        # It takes unknown models for ones with a million tokens.
        environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(here.context)
        environment["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(here.output)
    return Start(("claude",), environment, without=("ANTHROPIC_API_KEY",))


def _codex(here: Here) -> Start:
    provider = {
        "name": "fastmlx",
        "base_url": f"{here.url}/v1",
        "wire_api": "responses",
        "env_key": "FASTMLX_API_KEY",
    }
    settings: dict[str, str | int] = {
        "model_provider": "fastmlx",
        "model": here.model,
        **{f"model_providers.fastmlx.{key}": value for key, value in provider.items()},
        "model_providers.fastmlx.stream_idle_timeout_ms": PATIENCE_MS,
        "web_search": "disabled",
    }
    if here.context is not None:
        settings["model_context_window"] = here.context
        settings["model_auto_compact_token_limit"] = here.context * 4 // 5
    # A JSON string or number is one of TOML, too.
    flags = [word for key, value in settings.items() for word in ("-c", f"{key}={_toml(value)}")]
    return Start(("codex", *flags), {"FASTMLX_API_KEY": here.secret})


def _toml(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)


def _opencode(here: Here) -> Start:
    model: dict[str, object] = {"name": here.model}
    if here.context is not None:
        model["limit"] = {"context": here.context, "output": here.output}
    config = {
        "provider": {
            "fastmlx": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "fastmlx",
                "options": {"baseURL": f"{here.url}/v1", "apiKey": here.secret},
                "models": {here.model: model},
            }
        },
        "model": f"fastmlx/{here.model}",
        "small_model": f"fastmlx/{here.model}",
    }
    return Start(("opencode",), {"OPENCODE_CONFIG_CONTENT": json.dumps(config)})


def _qwen(here: Here) -> Start:
    environment = {
        "OPENAI_BASE_URL": f"{here.url}/v1",
        "OPENAI_API_KEY": here.secret,
        "OPENAI_MODEL": here.model,
    }
    return Start(("qwen", "--auth-type", "openai"), environment)


def _aider(here: Here) -> Start:
    environment = {"OPENAI_API_BASE": f"{here.url}/v1", "OPENAI_API_KEY": here.secret}
    return Start(
        ("aider", "--model", f"openai/{here.model}", "--no-show-model-warnings"), environment
    )


TOOLS: dict[str, Tool] = {
    "claude": Tool(  # 2.1.329
        "Claude Code", "claude", "npm install -g @anthropic-ai/claude-code", _claude
    ),
    "codex": Tool("Codex CLI", "codex", "npm install -g @openai/codex", _codex),  # 0.169.0
    "opencode": Tool(  # 1.18.33
        "opencode", "opencode", "npm install -g opencode-ai", _opencode
    ),
    "qwen": Tool("Qwen Code", "qwen", "npm install -g @qwen-code/qwen-code", _qwen),  # 0.15.10
    "aider": Tool("aider", "aider", "python -m pip install aider-install", _aider),  # 0.86.2
}


class Candidate(NamedTuple):
    """A model as `GET /v1/models` and the status show it."""

    name: str
    context: int | None
    loaded: bool
    is_toy: bool  # the model that ships with fastmlx
    takes_part: bool  # it may generate text


def choose(candidates: Sequence[Candidate]) -> Candidate | None:
    """Where nobody said which model: the only one that is loaded, else the only one there is; the
    toy only where there is no other. None when that is not clear."""
    able = [each for each in candidates if each.takes_part]
    real = [each for each in able if not each.is_toy] or able
    loaded = [each for each in real if each.loaded]
    for group in (loaded, real):
        if len(group) == 1:
            return group[0]
    return None
