"""Times of days as histograms, what makes a request's timeline, and indexes for its log."""

import math

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("usage", sa.Column("load_ms", sa.Float, nullable=False, server_default="0"))
    op.add_column("usage", sa.Column("sampling", sa.String))
    op.create_index("usage_request", "usage", ["request_id"])
    for column in ("model", "dialect", "key"):
        op.create_index(f"usage_{column}", "usage", [column, "at_ms"])
    op.create_table(
        "usage_latency",
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("metric", sa.String, nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("hour", "metric", "bucket"),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    counts: dict[tuple[int, str, int], int] = {}
    rows = connection.execute(
        sa.text(
            "SELECT at_ms / 3600000, ttft_ms, duration_ms, output_tokens FROM usage"
            " WHERE ttft_ms IS NOT NULL"
        )
    )
    for hour, ttft_ms, duration_ms, output_tokens in rows:
        times = {"ttft": ttft_ms}
        if output_tokens > 1:
            times["itl"] = (duration_ms - ttft_ms) / (output_tokens - 1)
        for metric, ms in times.items():
            key = (hour, metric, math.floor(8 * math.log2(max(ms, 0.01))))
            counts[key] = counts.get(key, 0) + 1
    if counts:
        connection.execute(
            sa.text("INSERT INTO usage_latency VALUES (:hour, :metric, :bucket, :requests)"),
            [
                {"hour": hour, "metric": metric, "bucket": bucket, "requests": requests}
                for (hour, metric, bucket), requests in counts.items()
            ],
        )
