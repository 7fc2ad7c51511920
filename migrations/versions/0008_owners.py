"""Chat completions that are kept, and whose the things are that are kept for clients."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("turns", sa.Column("owner", sa.String))
    op.add_column("conversations", sa.Column("owner", sa.String))
    # Usage is kept under the same ids, with the key.
    op.execute(
        "UPDATE turns SET owner = (SELECT key FROM usage WHERE request_id = turns.id LIMIT 1)"
    )
    op.execute(
        "UPDATE conversations SET owner = (SELECT owner FROM turns WHERE id = conversations.head)"
    )
    op.create_table(
        "completions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("labels", sa.String, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("messages", sa.LargeBinary, nullable=False),
    )
    op.create_index("completions_created", "completions", ["created_ms", "id"])
