"""Conversations of the dashboard's Chat page, as trees of messages."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "chats",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("updated_ms", sa.Integer, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("leaf", sa.String),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("chats_updated", "chats", ["updated_ms"])
    op.create_table(
        "chat_messages",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("chat", sa.String, nullable=False),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("chat_messages_chat", "chat_messages", ["chat", "created_ms"])
