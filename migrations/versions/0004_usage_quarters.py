"""Sums per quarter of an hour, model and key: what each key has used, in days of any time zone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "usage_quarters",
        sa.Column("quarter", sa.Integer, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("quarter", "model", "key"),
        sqlite_with_rowid=False,
    )
    op.execute(
        """
        INSERT INTO usage_quarters
        SELECT at_ms / 900000, model, coalesce(key, ''), count(*), count(error),
               sum(prompt_tokens), sum(cached_tokens), sum(output_tokens)
        FROM usage GROUP BY 1, 2, 3
        """
    )
