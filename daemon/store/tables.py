"""The tables, as this version of fastmlx knows them. `migrations/` brings older files here.

`usage` is one row per request. `usage_minutes` sums them per minute and model, written in the same
transaction: a plot of a week reads thousands of rows instead of a million. `usage_quarters` does
the same per quarter of an hour, model and API key; every time zone's days begin with a quarter.

`usage_latency` is a histogram an hour, in the same way.

`responses`, `turns` and `conversations` are what /v1/responses keeps for its clients; see
`responses.py`. `completions` is what /v1/chat/completions keeps for them; see `completions.py`.
`chats` and `chat_messages` are the dashboard's; see `chats.py`.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

metadata = MetaData()

usage = Table(
    "usage",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_ms", Integer, nullable=False),
    Column("request_id", String, nullable=False),
    Column("model", String, nullable=False),
    Column("dialect", String, nullable=False),
    Column("key", String),
    Column("client", String),
    Column("prompt_tokens", Integer, nullable=False, server_default="0"),
    Column("cached_tokens", Integer, nullable=False, server_default="0"),
    Column("output_tokens", Integer, nullable=False, server_default="0"),
    Column("reasoning_tokens", Integer, nullable=False, server_default="0"),
    Column("queue_ms", Float, nullable=False, server_default="0"),
    Column("ttft_ms", Float),
    Column("duration_ms", Float, nullable=False, server_default="0"),
    Column("finish_reason", String),
    Column("error", String),
    Column("stream", Boolean, nullable=False, server_default=text("0")),
    Column("load_ms", Float, nullable=False, server_default="0"),
    Column("sampling", String),
)
# The second column lets the percentile query read the index alone.
Index("usage_at", usage.c.at_ms, usage.c.ttft_ms)
# Errors are rare: a partial index finds the last few without walking the good requests.
Index("usage_errors", usage.c.at_ms, sqlite_where=usage.c.error.is_not(None))

Index("usage_request", usage.c.request_id)
# The log of requests is filtered by these and read backwards in time.
for _column in (usage.c.model, usage.c.dialect, usage.c.key):
    Index(f"usage_{_column.name}", _column, usage.c.at_ms)

SUMMED = ("requests", "errors", "prompt_tokens", "cached_tokens", "output_tokens")


def _sums() -> list[Column[int]]:
    return [Column(name, Integer, nullable=False) for name in SUMMED]


usage_minutes = Table(
    "usage_minutes",
    metadata,
    Column("minute", Integer, primary_key=True),  # Unix time in ms // 60,000
    Column("model", String, primary_key=True),
    *_sums(),
    sqlite_with_rowid=False,
)

usage_quarters = Table(
    "usage_quarters",
    metadata,
    Column("quarter", Integer, primary_key=True),  # Unix time in ms // 900,000
    Column("model", String, primary_key=True),
    Column("key", String, primary_key=True),  # name of the API key; "" for requests without one
    *_sums(),
    sqlite_with_rowid=False,
)

usage_latency = Table(
    "usage_latency",
    metadata,
    Column("hour", Integer, primary_key=True),  # Unix time in ms // 3,600,000
    Column("metric", String, primary_key=True),  # of latency.METRICS
    Column("bucket", Integer, primary_key=True),  # see latency.bucket
    Column("requests", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# What benchmarks measured; see bench_runs.py.
bench_runs = Table(
    "bench_runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_ms", Integer, nullable=False),
    Column("model", String, nullable=False),
    Column("version", String, nullable=False),
    Column("machine", String, nullable=False),
    Column("cells", LargeBinary, nullable=False),
)

# What was said in one response, and after which turn. A turn outlives its response as long as
# another turn, or a conversation, goes on from it.
turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),  # of the response
    Column("parent", String),
    Column("items", LargeBinary, nullable=False),
    Column("owner", String),  # name of the API key that it was made with
)
Index("turns_parent", turns.c.parent)

responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_ms", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index("responses_created", responses.c.created_ms)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_ms", Integer, nullable=False),
    Column("head", String),  # its last turn
    Column("body", LargeBinary, nullable=False),
    Column("owner", String),
)
Index("conversations_head", conversations.c.head)

# Chat completions of `store: true`; see completions.py.
completions = Table(
    "completions",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_ms", Integer, nullable=False),
    Column("owner", String),
    Column("model", String, nullable=False),
    Column("labels", String, nullable=False),  # the client's `metadata`, as JSON
    Column("body", LargeBinary, nullable=False),
    Column("messages", LargeBinary, nullable=False),
)
Index("completions_created", completions.c.created_ms, completions.c.id)

chats = Table(
    "chats",
    metadata,
    Column("id", String, primary_key=True),
    Column("updated_ms", Integer, nullable=False),
    Column("title", String, nullable=False),
    Column("leaf", String),  # the message at which it is shown to end
    Column("body", LargeBinary, nullable=False),
)
Index("chats_updated", chats.c.updated_ms)

chat_messages = Table(
    "chat_messages",
    metadata,
    Column("id", String, primary_key=True),
    Column("chat", String, nullable=False),
    Column("created_ms", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index("chat_messages_chat", chat_messages.c.chat, chat_messages.c.created_ms)
