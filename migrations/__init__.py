"""Schema history of the SQLite database: Alembic revisions in `versions/`, run by `daemon.store`.

A schema change is one new file there (`down_revision` names the one before) and a new `HEAD`.
Alembic is imported only for a file of an older version: it costs a third of a second. A new file
gets the tables of `HEAD` at once.
"""

from __future__ import annotations

import logging
from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import Connection, MetaData, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

HEAD = "0008"


class UnknownRevision(Exception):
    """The database is at a revision that is not in this version's history."""

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.revision = revision


def current(connection: Connection) -> str | None:
    """The revision of the database; None for one that has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))


def create(connection: Connection, tables: MetaData) -> bool:
    """The tables as they are at `HEAD`, in a database without any; False where there are some."""
    if inspect(connection).get_table_names():
        return False
    tables.create_all(connection, checkfirst=False)
    # As Alembic makes and fills it.
    connection.execute(
        text(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
    log.info("database schema: new → %s", HEAD)
    return True


def upgrade(connection: Connection, target: str = HEAD) -> None:
    """Run the missing revisions inside the connection's transaction.

    Raises `UnknownRevision` when the database is ahead of this version.
    """
    # Alembic announces plugins and contexts; one line of our own says the news.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command
    from alembic.script import ScriptDirectory

    with resources.as_file(resources.files(__name__)) as folder:
        config = _config(str(folder))
        revision = current(connection)
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if revision is not None and revision not in known:
            raise UnknownRevision(revision)
        config.attributes["connection"] = connection
        command.upgrade(config, target)
        log.info("database schema: %s → %s", revision or "new", current(connection))


def _config(folder: str) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config
