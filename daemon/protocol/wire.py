"""Everything that crosses the process border between front and engine.

One msgpack frame a message (`daemon.protocol.channel`). The front opens with `Load`; the engine
answers `Loading` any number of times, then `Ready` or `LoadFailed` (and exits). After `Ready` the
front sends `Generate`, `Abort` and `Tune`, the engine `Tokens` (one message a step, all rows in
it), `Rejected`, `Stats` and `Log`. When the socket closes the engine exits: there are no orphans.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .events import TokenLogprob
from .grammar import Grammar
from .sampling import Sampling

# ---- front → engine


HERE = frozenset({"127.0.0.1", "localhost", "::1"})


def is_here(host: str) -> bool:
    """Whether `[user@]host` names this machine, in a group's hosts."""
    return host.rpartition("@")[2] in HERE


EngineKind = Literal["text", "embedding", "reranker"]


class Distributed(msgspec.Struct, frozen=True):
    """The group of processes that one model is split over."""

    hosts: tuple[str, ...]  # one a rank; 127.0.0.1 is this machine, others are reached by ssh
    mode: str  # "tensor" | "pipeline"


class NamedAdapter(msgspec.Struct, array_like=True, frozen=True):
    """A LoRA adapter that requests may choose."""

    name: str
    path: str  # folder


class Warmed(msgspec.Struct, frozen=True, kw_only=True):
    """What the warm-up of an engine found out about its model. The front gives it to the model's
    next engine, which then need not find it out again."""

    model: bytes = b""  # which one: its weights and what computes with them
    vocab_size: int  # of the logits
    kv_bytes_per_token: int
    restores: bool  # a prompt may go on from what was kept of another
    note: str | None
    # What it sets in the runner, see `TextRunner`.
    batches: bool
    together: bool
    pack_limit: int
    mixes: bool
    starts: bool


class Load(msgspec.Struct, tag=True, frozen=True):
    """What to load. The first message, once."""

    name: str
    path: str  # folder with config.json and weights
    kind: EngineKind = "text"
    adapters: tuple[str, ...] = ()  # folders; always applied
    named_adapters: tuple[NamedAdapter, ...] = ()  # numbered from 1 in `Generate`
    max_concurrent: int = 32  # running sequences
    context: int | None = None  # tokens; None: what the model's config says
    step_tokens: int = 512  # token budget of a step: decode rows first, then prefill chunks
    kv_limit_bytes: int | None = None  # for the KV caches of running sequences; None: no limit
    memory_limit_bytes: int | None = None  # given to MLX as its allocation limit
    hot_bytes: int = 0  # what the prefix cache may hold in memory; 0: there is none
    cache_directory: str | None = None  # of its tier on disk, shared by all engines; None: none
    cold_bytes: int = 0  # what that tier may take on disk
    write_budget_bytes: int | None = None  # what may be written to it in a day; None: any amount
    distributed: Distributed | None = None
    warmed: Warmed | None = None  # what the last engine said; None: there was none


class Generate(msgspec.Struct, tag=True, frozen=True):
    """Continue `prompt + output`. `output` is not empty when a request is replayed after an engine
    died: those tokens were already delivered and are not sent again, but count for max_tokens,
    penalties and the position of random numbers."""

    id: int
    prompt: list[int]
    sampling: Sampling
    output: list[int] = []
    adapter: int = 0  # number of one of `Load.named_adapters`; 0: the model as it is
    grammar: Grammar | None = None  # that prompt's continuation, `output` included, keeps to
    request: str | None = None  # whose it is, for the log
    keep: bool = False  # the client says that it will send this prompt again


class Tune(msgspec.Struct, tag=True, frozen=True):
    """Settings that change while the engine runs; before the first one the defaults here hold."""

    max_gap_s: float | None = None  # of running streams beside prompts; None: by their usual one
    debug: bool = False  # log what happens to each sequence


class Embed(msgspec.Struct, tag=True, frozen=True):
    """Make one unit vector of each input. Only to an engine whose `Load.kind` is embedding."""

    id: int  # one number range with `Generate`
    inputs: list[list[int]]  # token ids
    dimensions: int | None = None  # the first ones of each vector; None: all
    request: str | None = None  # whose it is, for the log


class Score(msgspec.Struct, tag=True, frozen=True):
    """Say how well the two texts of each input fit. Only to an engine whose `Load.kind` is
    reranker."""

    id: int  # one number range with `Generate`
    inputs: list[list[int]]  # token ids of both texts, and of what the model wants around them
    seconds: list[int]  # where the second text of each input begins, for models that mark it
    labels: tuple[int, int] | None = None  # decoders: the tokens that say no and yes
    request: str | None = None  # whose it is, for the log


class Abort(msgspec.Struct, tag=True, frozen=True):
    """Nobody listens to this request any more. Unknown and finished ids are ignored."""

    id: int


class Stop(msgspec.Struct, tag=True, frozen=True):
    """Exit cleanly now; running sequences are dropped."""


class CacheLimits(msgspec.Struct, tag=True, frozen=True):
    """Other limits for the prefix cache from now on; what is too much is evicted at once."""

    hot_bytes: int
    cold_bytes: int
    write_budget_bytes: int | None = None


class MemoryLimit(msgspec.Struct, tag=True, frozen=True):
    """What the engine may use in all from now on: weights, running sequences and hot tier."""

    num_bytes: int


class ClearCache(msgspec.Struct, tag=True, frozen=True):
    """Forget every prefix of these tiers that no running sequence uses."""

    hot: bool = True
    cold: bool = True


ToEngine = (
    Load | Generate | Embed | Score | Tune | Abort | Stop | CacheLimits | MemoryLimit | ClearCache
)

# ---- engine → front


class Loading(msgspec.Struct, tag=True, frozen=True):
    """Progress of a load: `fraction` of the bytes, or of the stage."""

    stage: str  # "importing", "reading weights", "warming up"
    fraction: float


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The model answers from now on."""

    context: int  # tokens that a sequence may hold
    vocab_size: int
    memory_bytes: int  # weights as they lie in memory
    kv_bytes_per_token: int
    batches: bool  # False: this architecture's cache cannot batch; rows run one at a time
    notes: tuple[str, ...] = ()  # what a person should know, one sentence each
    pids: tuple[int, ...] = ()  # of the processes of a group on this machine; rank 0 first
    warmed: Warmed | None = None


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    """The model cannot be loaded; the message is for the user."""

    message: str


class TokenRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """New tokens of one sequence. With `finish` "stop" the last token is the stop token, which is
    counted but has no text. `logprobs` has one entry a token when asked for: the chosen token
    first, then the likeliest. `prompt_logprobs`, in the first row, has one for each token of the
    prompt but the first. `prefill_ms`, in the first row, is how long it took since the sequence
    left the engine's queue."""

    id: int
    tokens: list[int]
    finish: str | None = None  # "stop" | "length"
    cached_tokens: int = 0  # set in the first row of a sequence
    logprobs: list[list[TokenLogprob]] | None = None
    prompt_logprobs: list[list[TokenLogprob]] | None = None
    prefill_ms: float = 0  # 0: not said


class Tokens(msgspec.Struct, tag=True, frozen=True):
    """Output of one step."""

    rows: list[TokenRow]


class Rejected(msgspec.Struct, tag=True, frozen=True):
    """This request alone failed; the engine goes on."""

    id: int
    message: str
    bad_request: bool = False


class Embedded(msgspec.Struct, tag=True, frozen=True):
    """The answer to `Embed`."""

    id: int
    dimensions: int
    vectors: bytes  # float32 in the machine's byte order, one vector after the other


class Scored(msgspec.Struct, tag=True, frozen=True):
    """The answer to `Score`."""

    id: int
    scores: list[float]  # log-odds, one an input; the higher, the better they fit


class Prefill(msgspec.Struct, array_like=True, frozen=True):
    """Progress of one prompt that is being prefilled."""

    id: int
    done: int  # tokens
    total: int


class CachedPrefix(msgspec.Struct, array_like=True, frozen=True):
    """A prefix in the hot tier with all that goes on from it."""

    tokens: int  # of the longest
    bytes: int
    hits: int
    preview: list[int]  # its first tokens


class ColdStats(msgspec.Struct, frozen=True):
    """The books of the tier on disk in one engine. Counters are since the start; the directory's
    figures, `queued_bytes` and `problem` are of now."""

    read_blocks: int = 0
    read_bytes: int = 0
    reads: int = 0  # of several blocks each
    read_seconds: float = 0.0  # of all reads
    read_histogram: tuple[int, ...] = ()  # reads, by READ_BUCKETS_S; the last: longer than all
    written_blocks: int = 0
    written_bytes: int = 0
    dropped_blocks: int = 0  # the queue was full, or the tier was off
    over_budget_blocks: int = 0  # refused by the day's write budget
    no_room_blocks: int = 0  # refused by the size limit
    failed_blocks: int = 0  # could not be written
    evicted_blocks: int = 0
    bad_blocks: int = 0  # files that were torn or foreign, found when they were read
    queued_bytes: int = 0
    directory_bytes: int = 0  # everything in the directory, of all models
    directory_blocks: int = 0
    written_today_bytes: int = 0  # by all engines
    limit_bytes: int = 0
    problem: str | None = None  # why the tier is off at the moment


# Upper bounds of `ColdStats.read_histogram`.
READ_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class CacheStats(msgspec.Struct, frozen=True):
    """The books of the prefix cache. Counters are since the start."""

    hot_bytes: int
    hot_limit_bytes: int
    nodes: int
    hits: int  # prompts of which something was found
    hit_tokens: dict[str, int]  # by tier: "hot", "cold"
    asked_tokens: int  # of all prompts that were looked up
    misses: dict[str, int]  # prompts of which nothing was found, by reason
    evictions: int
    recomputed_tokens: int = 0  # that were known, but after the last checkpoint in common
    prefixes: list[CachedPrefix] = []  # the most used first
    cold: ColdStats | None = None  # None: there is no tier on disk


class Stats(msgspec.Struct, tag=True, frozen=True):
    """The engine's books, sent when they changed, at most about twice a second."""

    running: int
    waiting: int
    memory_bytes: int  # active memory of MLX
    peak_memory_bytes: int
    kv_bytes: int
    kv_tokens: int
    steps: int
    output_tokens: int  # since the start
    prompt_tokens: int  # since the start, prefilled
    short: bool = False  # a sequence waits for memory, or has lost its cache for lack of it
    preemptions: int = 0  # since the start
    prefills: list[Prefill] = []
    cache: CacheStats | None = None
    limit_bytes: int | None = None  # of the last MemoryLimit that it keeps to


class Log(msgspec.Struct, tag=True, frozen=True):
    """A line for the log."""

    level: int  # Python's numbers
    logger: str
    message: str
    request: str | None = None  # whom it is about
    trace: str | None = None  # of an exception


ToFront = Loading | Ready | LoadFailed | Tokens | Embedded | Scored | Rejected | Stats | Log
