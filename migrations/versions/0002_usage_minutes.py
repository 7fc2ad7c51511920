"""Sums per minute and model, so that plots of days do not read every request."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "usage_minutes",
        sa.Column("minute", sa.Integer, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("minute", "model"),
        sqlite_with_rowid=False,
    )
    op.execute(
        """
        INSERT INTO usage_minutes
        SELECT at_ms / 60000, model, count(*), count(error), sum(prompt_tokens),
               sum(cached_tokens), sum(output_tokens)
        FROM usage GROUP BY 1, 2
        """
    )
