"""Answers that clients may ask for again, and what was said in them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "turns",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("parent", sa.String),
        sa.Column("items", sa.LargeBinary, nullable=False),
    )
    op.create_index("turns_parent", "turns", ["parent"])
    op.create_table(
        "responses",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("responses_created", "responses", ["created_ms"])
    op.create_table(
        "conversations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("head", sa.String),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("conversations_head", "conversations", ["head"])
