"""What the user declares: config.yaml as frozen values.

Every field says what it means, its unit, and what a change of it costs a running daemon:

    live      applied at once; loaded models stay loaded
    reload    the model's engine starts again, after the requests that it runs have ended
    restart   waits for the next start of the daemon, and is reported as such

Key and field names are those of config.yaml. null means "as if not written" everywhere.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .mcp import McpSettings
from .models import DistributedSpec, DraftSpec, KVCacheSpec, ModelSpec, SamplingDefaults
from .section import Section, setting, without_nulls
from .units import Bytes, Seconds, Size
from .values import (
    Attempts,
    Budget,
    Count,
    Delay,
    DrainTimeout,
    Folder,
    HangTimeout,
    Limit,
    MaxGap,
    ModelName,
    OneOrMany,
    Origins,
    Port,
    ReceiveTimeout,
    RequestAttempts,
    Text,
    TierSize,
    Whole,
)

__all__ = [
    "CacheSettings",
    "Declared",
    "DefaultSettings",
    "DistributedSpec",
    "DraftSpec",
    "KVCacheSpec",
    "McpSettings",
    "MemorySettings",
    "ModelSpec",
    "RecoverySettings",
    "ResponsesSettings",
    "SamplingDefaults",
    "ServerSettings",
    "Settings",
]


class ServerSettings(Section):
    """`server:`"""

    host: Text = setting("Address to listen on.", change="restart", default="127.0.0.1")
    port: Port = setting("TCP port; 0 takes any free one.", change="restart", default=6590)
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "What the log keeps.", change="live", default="info"
    )
    cors_origins: Origins = setting(
        "Web origins whose pages may call the API; '*' allows all.", change="live", default=()
    )
    max_request_size: Bytes = setting(
        "Largest body of a request.", change="restart", unit="bytes", default=64 * 1024**2
    )
    drain_timeout: DrainTimeout = setting(
        "At stop, how long running requests may take to finish.",
        change="live",
        unit="seconds",
        default=30.0,
    )
    max_connections: Count = setting(
        "Connections at once; beyond it: 503.",
        change="live",
        unit="connections",
        default=2048,
    )
    receive_timeout: ReceiveTimeout = setting(
        "How long the header of a request may take to arrive; its body has a second more for each "
        "16 KiB. Then: 408.",
        change="live",
        unit="seconds",
        default=30.0,
    )
    exit_when_idle: Seconds = setting(
        "Without requests for this long the daemon exits, where a connection starts it again "
        "(fastmlx install --on-demand); never keeps it.",
        change="live",
        unit="seconds",
        default=math.inf,
    )
    admin: bool = setting("Serve the dashboard at /admin/.", change="restart", default=True)


class MemorySettings(Section):
    """`memory:`"""

    limit: Limit = setting(
        "What all engines together may wire; auto, a size, or a share of the machine's memory.",
        change="live",
        unit="bytes",
        default="auto",
    )


class CacheSettings(Section):
    """`cache:` the KV prefix cache."""

    hot: TierSize = setting(
        "Tier in RAM, of all models together: a size, or a share of the memory limit; "
        "0 turns the whole cache off.",
        change="live",
        unit="bytes",
        default=Size(percent=25),
    )
    cold: TierSize = setting(
        "Tier on SSD: a size, or a share of the disk; 0 turns it off.",
        change="live",
        unit="bytes",
        default=Size(num_bytes=20 * 1024**3),
    )
    write_budget: Budget = setting(
        "What may be written to the tier on SSD in a day, by all models; or unlimited.",
        change="live",
        unit="bytes",
        default=50 * 1024**3,
    )
    directory: Folder | None = setting(
        "Folder of the tier on SSD; by default FASTMLX_HOME/cache.", change="reload", default=None
    )


class ResponsesSettings(Section):
    """`responses:` what OpenAI's APIs keep for later requests: responses, and chat completions
    with `store: true`."""

    keep: Whole = setting(
        "So many answers of each API; the oldest go first. 0 keeps none.",
        change="live",
        unit="responses",
        default=1000,
    )
    max_age: Seconds = setting(
        "Older answers are deleted; never keeps them.",
        change="live",
        unit="seconds",
        default=30 * 86400.0,
    )


class RecoverySettings(Section):
    """`recovery:` what is done about engines that die."""

    start_attempts: Attempts = setting(
        "An engine that dies so often before it is ready is given up until its entry changes or "
        "someone tries again.",
        change="live",
        default=3,
    )
    request_attempts: RequestAttempts = setting(
        "A request that so many deaths of its engine met is given up.", change="live", default=2
    )
    delay: Delay = setting(
        "Before an engine that died starts again; doubles with each death in a row.",
        change="live",
        unit="seconds",
        default=0.25,
    )
    max_delay: Delay = setting(
        "The delay never grows longer.", change="live", unit="seconds", default=30.0
    )
    hang_timeout: HangTimeout = setting(
        "An engine that has requests and says nothing for so long is ended; auto is 20 times the "
        "longest silence it has shown, at least 1m; never keeps it.",
        change="live",
        unit="seconds",
        default="auto",
    )


class DefaultSettings(Section):
    """`defaults:` for every model that does not say otherwise."""

    idle_timeout: Seconds = setting(
        "Without requests for this long a model is unloaded; never keeps it.",
        change="live",
        unit="seconds",
        default=900.0,
    )
    max_concurrent: Count = setting(
        "Sequences that run at once in a model.", change="reload", unit="sequences", default=32
    )
    max_waiting: Whole = setting(
        "Requests that may wait for a model; beyond it: 503 with Retry-After.",
        change="live",
        unit="requests",
        default=128,
    )
    queue_timeout: Seconds = setting(
        "How long a request may wait for its turn; then: 503 with Retry-After.",
        change="live",
        unit="seconds",
        default=math.inf,
    )
    request_timeout: Seconds = setting(
        "How long a request may take in all; then: 504, or an error event in its stream.",
        change="live",
        unit="seconds",
        default=math.inf,
    )
    max_gap: MaxGap = setting(
        "How long a running stream may wait for its next token while prompts are computed; "
        "auto is a multiple of its usual time.",
        change="live",
        unit="seconds",
        default="auto",
    )


class Declared(NamedTuple):
    name: str
    spec: ModelSpec


def _matches(pattern: str, name: str) -> bool:
    """`*` is any text; all other characters are themselves."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


class Settings(BaseSettings):
    """The whole of config.yaml. Immutable; two of them can be compared.

    Reads neither the environment nor .env files by itself: `config.load` puts the environment's
    overrides over the file's values, so that a Settings made in Python is what it says.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="FASTMLX_",
        env_nested_delimiter="__",
        env_file=None,
        validate_default=False,
    )

    server: ServerSettings = setting("The server.", change="live", default=ServerSettings())
    memory: MemorySettings = setting("Memory.", change="live", default=MemorySettings())
    cache: CacheSettings = setting("KV prefix cache.", change="live", default=CacheSettings())
    responses: ResponsesSettings = setting(
        "Answers kept for later requests.", change="live", default=ResponsesSettings()
    )
    defaults: DefaultSettings = setting(
        "What holds for models that do not say otherwise.", change="live", default=DefaultSettings()
    )
    recovery: RecoverySettings = setting(
        "What is done about engines that die.", change="live", default=RecoverySettings()
    )
    mcp: McpSettings = setting("Tools of MCP servers.", change="live", default=McpSettings())
    discover: OneOrMany = setting(
        "Where to look for models that could be added: huggingface, lmstudio, or folders.",
        change="live",
        default=("huggingface", "lmstudio"),
    )
    models: dict[ModelName, ModelSpec] = setting("What is served.", change="live", default={})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _null_means_default(cls, data: Any) -> Any:
        return without_nulls(cls, data)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Settings:
        owners = {name: name for name in self.models}
        clashes: list[InitErrorDetails] = []
        for name, spec in self.models.items():
            for index, alias in enumerate(spec.aliases):
                owner = owners.setdefault(alias, name)
                if owner == name and spec.aliases.index(alias) == index and alias != name:
                    continue
                what = "another alias" if alias != owner else "the name"
                problem = PydanticCustomError(
                    "alias_taken",
                    "'{alias}' is already {what} of {owner}",
                    {"alias": alias, "what": what, "owner": owner},
                )
                place = ("models", name, "aliases", index)
                clashes.append(InitErrorDetails(type=problem, loc=place, input=alias))
        for name, spec in self.models.items():
            for index, adapter in enumerate(spec.adapters):
                served = f"{name}:{adapter.name}"
                if adapter.name is None:
                    continue
                if served not in owners:
                    owners[served] = name
                    continue
                problem = PydanticCustomError(
                    "adapter_taken",
                    "'{served}' is already the name of something else",
                    {"served": served},
                )
                place = ("models", name, "adapters", index, "name")
                clashes.append(InitErrorDetails(type=problem, loc=place, input=adapter.name))
        if clashes:
            raise ValidationError.from_exception_data("Settings", clashes)
        return self

    def find(self, name: str) -> Declared | None:
        """The model that answers to `name`: by its own name, an alias, MODEL:ADAPTER, or the first
        alias with a `*`, which stands for any text, that matches."""
        if name in self.models:
            return Declared(name, self.models[name])
        for own, spec in self.models.items():
            if name in spec.aliases or spec.adapter_asked(own, name) is not None:
                return Declared(own, spec)
        for own, spec in self.models.items():
            if any("*" in alias and _matches(alias, name) for alias in spec.aliases):
                return Declared(own, spec)
        return None

    def idle_timeout_s(self, spec: ModelSpec) -> float:
        """Seconds; `math.inf` for never, and for pinned models."""
        if spec.pinned:
            return math.inf
        return self.defaults.idle_timeout if spec.idle_timeout is None else spec.idle_timeout

    def max_concurrent(self, spec: ModelSpec) -> int:
        return spec.max_concurrent or self.defaults.max_concurrent

    def max_waiting(self, spec: ModelSpec) -> int:
        return self.defaults.max_waiting if spec.max_waiting is None else spec.max_waiting

    def queue_timeout_s(self, spec: ModelSpec) -> float:
        """Seconds; `math.inf` for never."""
        return self.defaults.queue_timeout if spec.queue_timeout is None else spec.queue_timeout

    def request_timeout_s(self, spec: ModelSpec) -> float:
        """Seconds; `math.inf` for never."""
        own = spec.request_timeout
        return self.defaults.request_timeout if own is None else own

    def max_gap_s(self, spec: ModelSpec) -> float | None:
        """Seconds; None for auto."""
        gap = self.defaults.max_gap if spec.max_gap is None else spec.max_gap
        return None if gap == "auto" else gap
