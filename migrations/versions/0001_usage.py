"""One row per request."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at_ms", sa.Integer, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("dialect", sa.String, nullable=False),
        sa.Column("key", sa.String),
        sa.Column("client", sa.String),
        sa.Column("prompt_tokens", sa.Integer, nullable=False, server_default="0"),
        sa.Column("cached_tokens", sa.Integer, nullable=False, server_default="0"),
        sa.Column("output_tokens", sa.Integer, nullable=False, server_default="0"),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False, server_default="0"),
        sa.Column("queue_ms", sa.Float, nullable=False, server_default="0"),
        sa.Column("ttft_ms", sa.Float),
        sa.Column("duration_ms", sa.Float, nullable=False, server_default="0"),
        sa.Column("finish_reason", sa.String),
        sa.Column("error", sa.String),
        sa.Column("stream", sa.Boolean, nullable=False, server_default=sa.text("0")),
    )
    op.create_index("usage_at", "usage", ["at_ms", "ttft_ms"])
    op.create_index("usage_errors", "usage", ["at_ms"], sqlite_where=sa.text("error IS NOT NULL"))
