"""Every older database arrives at today's schema with its data."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastmlx import migrations
from fastmlx.daemon.store import queries
from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.rows import Totals
from sqlalchemy import Connection, create_engine, event

# What each version could store, in its own words. A new revision adds an entry, and no older entry
# ever changes: those databases are on people's disks.
ROWS = {
    "0001": [
        "INSERT INTO usage (at_ms, request_id, model, dialect, prompt_tokens, cached_tokens,"
        " output_tokens) VALUES (60001, 'a', 'demo', 'openai_chat', 10, 4, 3)",
        "INSERT INTO usage (at_ms, request_id, model, dialect, prompt_tokens, cached_tokens,"
        " output_tokens, error) VALUES (119999, 'b', 'demo', 'openai_chat', 5, 0, 0, 'boom')",
    ],
}
ROWS["0002"] = [
    *ROWS["0001"],
    "INSERT INTO usage_minutes VALUES (1, 'demo', 2, 1, 15, 4, 3)",
]
ROWS["0003"] = [
    *ROWS["0002"],
    "INSERT INTO turns VALUES ('resp_1', NULL, x'78')",
    "INSERT INTO responses VALUES ('resp_1', 1, x'78')",
    "INSERT INTO conversations VALUES ('conv_1', 1, 'resp_1', x'78')",
]
ROWS["0004"] = [
    *ROWS["0003"],
    "INSERT INTO usage_quarters VALUES (0, 'demo', '', 2, 1, 15, 4, 3)",
]
ROWS["0005"] = [*ROWS["0004"], "INSERT INTO usage_latency VALUES (0, 'ttft', 53, 1)"]
ROWS["0006"] = [*ROWS["0005"], "INSERT INTO bench_runs VALUES (1, 1, 'demo', '1', 'm', x'5b5d')"]
ROWS["0007"] = [
    *ROWS["0006"],
    "INSERT INTO chats VALUES ('chat-1', 1, 'A title', 'm1', x'78')",
    "INSERT INTO chat_messages VALUES ('m1', 'chat-1', 1, x'78')",
]
ROWS["0008"] = [
    *(row for row in ROWS["0007"] if "INTO turns" not in row and "INTO conversations" not in row),
    "INSERT INTO turns VALUES ('resp_1', NULL, x'78', 'a key')",
    "INSERT INTO conversations VALUES ('conv_1', 1, 'resp_1', x'78', 'a key')",
    "INSERT INTO completions VALUES ('chatcmpl-1', 1, 'a key', 'demo', '{}', x'78', x'78')",
]


@contextmanager
def open_at(path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(resources.files("fastmlx.migrations")))
    return [s.revision for s in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def schema(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Columns and indexes, without the wording of the statements that made them."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT type, name FROM sqlite_master ORDER BY name").fetchall()
    found: dict[str, list[tuple[object, ...]]] = {}
    for kind, name in names:
        if kind == "table":
            found[name] = [
                connection.execute(f"PRAGMA table_list({name})").fetchone()[2:],
                *connection.execute(f"PRAGMA table_xinfo({name})").fetchall(),
                *sorted(row[1:] for row in connection.execute(f"PRAGMA index_list({name})")),
            ]
        elif kind == "index":
            found[name] = connection.execute(f"PRAGMA index_xinfo({name})").fetchall()
    connection.close()
    return found


def test_the_history_is_one_line_and_ends_at_head() -> None:
    assert revisions()[-1] == migrations.HEAD
    assert set(ROWS) == set(revisions())


@pytest.mark.parametrize("revision", revisions())
def test_data_of_an_older_version_is_all_there_afterwards(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "fastmlx.db"
    with open_at(path) as connection:
        migrations.upgrade(connection, revision)
        for statement in ROWS[revision]:
            connection.exec_driver_sql(statement)
    database = Database(path)
    with database.connect() as connection:
        assert migrations.current(connection) == migrations.HEAD
        assert [row.request_id for row in queries.recent(connection, 9).rows] == ["b", "a"]
        assert [row.error for row in queries.errors(connection, 9)] == ["boom"]
        assert queries.totals(connection, 0) == Totals(2, 1, 15, 4, 3)
        (series,) = queries.timeline(connection, 0, 60_000, 3).series
        assert series.requests == (0, 2, 0)
    database.close()


@pytest.mark.parametrize("revision", revisions())
def test_every_road_leads_to_the_tables_of_a_new_file(tmp_path: Path, revision: str) -> None:
    migrated, new = tmp_path / "migrated.db", tmp_path / "new.db"
    with open_at(migrated) as connection:
        migrations.upgrade(connection, revision)
    for path in (migrated, new):
        Database(path).close()
    assert schema(migrated) == schema(new)


def test_times_that_were_measured_before_are_in_the_histograms(tmp_path: Path) -> None:
    path = tmp_path / "fastmlx.db"
    with open_at(path) as connection:
        migrations.upgrade(connection, "0004")
        connection.exec_driver_sql(
            "INSERT INTO usage (at_ms, request_id, model, dialect, ttft_ms, duration_ms,"
            " output_tokens) VALUES (60001, 'a', 'demo', 'openai_chat', 100, 190, 10)"
        )
    database = Database(path)
    with database.connect() as connection:
        found = queries.latency_of_hours(connection, 0)
    database.close()
    assert (found.ttft.samples, found.itl.samples) == (1, 1)
    assert found.ttft.p50_ms == pytest.approx(100, rel=0.045)
    assert found.itl.p99_ms == pytest.approx(10, rel=0.045)


def test_what_was_kept_before_belongs_to_the_key_that_made_it(tmp_path: Path) -> None:
    path = tmp_path / "fastmlx.db"
    with open_at(path) as connection:
        migrations.upgrade(connection, "0007")
        for statement in [
            *ROWS["0007"],
            "INSERT INTO turns VALUES ('resp_2', 'resp_1', x'78')",
            "INSERT INTO usage (at_ms, request_id, model, dialect, key)"
            " VALUES (9, 'resp_1', 'demo', 'openai_responses', 'a key')",
        ]:
            connection.exec_driver_sql(statement)
    Database(path).close()
    with open_at(path) as connection:
        turns = connection.exec_driver_sql("SELECT id, owner FROM turns ORDER BY id").all()
        assert [tuple(row) for row in turns] == [("resp_1", "a key"), ("resp_2", None)]
        assert connection.exec_driver_sql("SELECT owner FROM conversations").scalar() == "a key"


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "fastmlx.db"
    with open_at(path) as connection:
        migrations.upgrade(connection, "0001")
        connection.exec_driver_sql("CREATE TABLE usage_minutes (mine INTEGER)")
    before = schema(path)
    with pytest.raises(Exception, match="already exists"):
        Database(path)
    assert schema(path) == before


OPEN = """
import sys
from pathlib import Path
from fastmlx.daemon.store.store import Store
store = Store.open(Path(sys.argv[1]))
opened = store.flush(20)
store.close()
sys.exit(0 if opened else 1)
"""


def test_daemons_that_open_a_new_or_old_file_at_once_all_succeed(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with open_at(old) as connection:
        migrations.upgrade(connection, "0001")
        for statement in ROWS["0001"]:
            connection.exec_driver_sql(statement)
    for path in (tmp_path / "new.db", old):
        openers = [subprocess.Popen([sys.executable, "-c", OPEN, str(path)]) for _ in range(3)]
        assert [opener.wait(60) for opener in openers] == [0, 0, 0]
    database = Database(old)
    with database.connect() as connection:
        assert queries.totals(connection, 0).requests == 2
    database.close()
