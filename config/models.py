"""One entry of `models:` in config.yaml; see `settings`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .adapters import Adapters
from .section import Section, setting
from .units import Seconds
from .values import (
    Codec,
    Context,
    Count,
    DraftKind,
    Folder,
    MaxGap,
    ModelKind,
    Number,
    OneOrMany,
    Processes,
    Seed,
    Text,
    Whole,
)


class SamplingDefaults(Section):
    """`sampling:` of a model: what holds where the request says nothing."""

    temperature: Annotated[Number, Field(ge=0, le=100)] | None = setting(
        "0 is greedy.", change="live", default=None
    )
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = setting(
        "Keep the likeliest tokens up to this probability.", change="live", default=None
    )
    top_k: Whole | None = setting(
        "Keep this many tokens; 0 keeps all.", change="live", unit="tokens", default=None
    )
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = setting(
        "Drop tokens less likely than this share of the likeliest.", change="live", default=None
    )
    repetition_penalty: Annotated[Number, Field(gt=0, le=100)] | None = setting(
        "Above 1 discourages tokens of prompt and output.", change="live", default=None
    )
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = setting(
        "Above 0 discourages tokens of the output.", change="live", default=None
    )
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = setting(
        "The same, by how often each came.", change="live", default=None
    )
    seed: Seed | None = setting("Fixed start of the random numbers.", change="live", default=None)
    max_tokens: Count | None = setting(
        "Length of an answer, at most.", change="live", unit="tokens", default=None
    )


class KVCacheSpec(Section):
    """`kv_cache:` of a model."""

    codec: Codec = setting("How keys and values are stored.", change="reload", default="none")


class DraftSpec(Section):
    """`draft:` of a model: speculative decoding."""

    kind: DraftKind = setting("auto or none.", change="reload", default="auto")


class DistributedSpec(Section):
    """`distributed:` of a model that is split over several processes or machines."""

    processes: Processes | None = setting(
        "So many processes on this machine.", change="reload", unit="processes", default=None
    )
    hosts: OneOrMany = setting(
        "Machines, reached by ssh: [user@]host; the first is this one, as the others reach it.",
        change="reload",
        default=(),
    )
    mode: Literal["tensor", "pipeline"] = setting(
        "tensor: each computes a part of every layer; pipeline: each has some of the layers.",
        change="reload",
        default="tensor",
    )

    @model_validator(mode="after")
    def _one_way_to_say_where(self) -> DistributedSpec:
        if (self.processes is None) == (not self.hosts):
            raise ValueError("takes either processes or hosts")
        if len(self.hosts) == 1:
            raise ValueError("hosts must be at least 2: the first is this machine")
        return self

    @property
    def members(self) -> tuple[str, ...]:
        """The host of each process."""
        return self.hosts or ("127.0.0.1",) * (self.processes or 1)


class ModelSpec(Section):
    """One entry of `models:`."""

    path: Text = setting("Hub id, folder, or builtin:demo.", change="reload")
    revision: Text | None = setting(
        "Branch, tag or commit on the Hub.", change="reload", default=None
    )
    kind: ModelKind = setting("What the model does.", change="reload", default="auto")
    aliases: OneOrMany = setting(
        "Other names it answers to; * stands for any text (claude-*).", change="live", default=()
    )
    preload: bool = setting(
        "Load when declared, not at the first request.", change="live", default=False
    )
    pinned: bool = setting("Never evicted, never unloaded when idle.", change="live", default=False)
    idle_timeout: Seconds | None = setting(
        "Without requests for this long it is unloaded; else defaults.idle_timeout.",
        change="live",
        unit="seconds",
        default=None,
    )
    context: Context = setting(
        "Longest prompt and output together; auto is the model's own.",
        change="reload",
        unit="tokens",
        default="auto",
    )
    max_concurrent: Count | None = setting(
        "Sequences that run at once; else defaults.max_concurrent.",
        change="reload",
        unit="sequences",
        default=None,
    )
    max_waiting: Whole | None = setting(
        "Requests that may wait for it; else defaults.max_waiting.",
        change="live",
        unit="requests",
        default=None,
    )
    queue_timeout: Seconds | None = setting(
        "How long a request may wait for its turn; else defaults.queue_timeout.",
        change="live",
        unit="seconds",
        default=None,
    )
    request_timeout: Seconds | None = setting(
        "How long a request may take in all; else defaults.request_timeout.",
        change="live",
        unit="seconds",
        default=None,
    )
    max_gap: MaxGap | None = setting(
        "How long a stream may wait for its next token; else defaults.max_gap.",
        change="live",
        unit="seconds",
        default=None,
    )
    sampling: SamplingDefaults = setting(
        "Sampling where the request says nothing.", change="live", default=SamplingDefaults()
    )
    system_prompt: str | None = setting(
        "System message of conversations that have none.", change="live", default=None
    )
    chat_template: Folder | None = setting(
        "File with a Jinja chat template, instead of the model's.", change="live", default=None
    )
    chat_template_args: dict[str, Any] = setting(
        "Variables for the chat template.", change="live", default={}
    )
    tool_parser: Text = setting("Format of tool calls.", change="live", default="auto")
    reasoning_parser: Text = setting("Format of reasoning.", change="live", default="auto")
    kv_cache: KVCacheSpec = setting("The KV cache.", change="reload", default=KVCacheSpec())
    draft: DraftSpec = setting("Speculative decoding.", change="reload", default=DraftSpec())
    adapters: Adapters = setting(
        "LoRA adapters: folders, always applied, or {name, path}, chosen by requests.",
        change="reload",
        default=(),
    )
    distributed: DistributedSpec | None = setting(
        "Split over several processes or machines.", change="reload", default=None
    )

    @model_validator(mode="after")
    def _adapters_are_not_split(self) -> ModelSpec:
        if self.adapters and self.distributed is not None:
            raise ValueError("adapters cannot be used together with distributed")
        return self

    @property
    def always_adapters(self) -> tuple[str, ...]:
        """Paths of the adapters that every request uses."""
        return tuple(adapter.path for adapter in self.adapters if adapter.name is None)

    @property
    def named_adapters(self) -> dict[str, str]:
        """Name → path of the adapters that requests choose, in their order."""
        return {a.name: a.path for a in self.adapters if a.name is not None}

    def adapter_asked(self, own: str, asked: str) -> str | None:
        """The adapter that the id `asked` means of the entry `own`; None for none."""
        return next((name for name in self.named_adapters if asked == f"{own}:{name}"), None)
