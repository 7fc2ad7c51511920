"""How fast a model answered lately."""

from __future__ import annotations

from pathlib import Path

from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.speed import Speed, speed

from .conftest import MakeRow


def test_the_median_of_the_last_answers_of_one_model(path: Path, row: MakeRow) -> None:
    database = Database(path)

    def of_demo(**bounds: int) -> Speed:
        with database.connect() as connection:
            return speed(connection, "demo", **bounds)

    try:
        assert of_demo() == Speed(0, None, None)
        rows = [
            row(model="demo", output_tokens=11, ttft_ms=100.0, duration_ms=1100.0),
            row(model="demo", output_tokens=21, ttft_ms=300.0, duration_ms=1300.0),
            row(model="demo", output_tokens=41, ttft_ms=200.0, duration_ms=1200.0),
            row(model="demo", output_tokens=1, ttft_ms=200.0, duration_ms=200.0),
            row(model="demo", output_tokens=9, ttft_ms=1.0, duration_ms=2.0, error="x: y"),
            row(model="other", output_tokens=900, ttft_ms=1.0, duration_ms=2.0),
            row(model="demo", ttft_ms=None, duration_ms=5.0),
        ]
        database.write(rows)
        assert of_demo() == Speed(4, 20.0, 200.0)
        assert of_demo(newest=2).requests == 0
    finally:
        database.close()
