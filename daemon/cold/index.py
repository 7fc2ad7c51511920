"""What lies in the directory, shared by several engines and the front: short transactions.

A block's row comes before its file and goes after it:

    reserve (row, owned) → file written, renamed → commit (row, free to read)
    evict: file deleted → row deleted, in one transaction

So a crash leaves either a row whose file is missing, found when it is read, or a row whose owner
is gone, dropped with its file when it has grown old. The rows' sum is never less than the disk's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from . import layout, schema
from .schema import transaction

DAY_MS = 86_400_000
STALE_MS = 600_000  # a block that has been "being written" for so long never will be
_AT_ONCE = 200  # rows of a statement or a transaction


class Entry(NamedTuple):
    """A block that wants a place."""

    block: bytes  # its hash
    model: str
    position: int  # tokens from the start of the sequence to the end of the block
    size_bytes: int  # of the disk


class Reserved(NamedTuple):
    """What became of the entries, by hash; those in no list have a row already."""

    accepted: list[bytes]
    over_budget: list[bytes]
    no_room: list[bytes]
    evicted: int  # blocks that made room


class ModelTotals(NamedTuple):
    blocks: int
    size_bytes: int


class Totals(NamedTuple):
    models: dict[str, ModelTotals]
    index_bytes: int
    written_today_bytes: int

    @property
    def size_bytes(self) -> int:
        """Of the disk, everything counted."""
        return self.index_bytes + sum(model.size_bytes for model in self.models.values())


class Index:
    """One connection. For one thread at a time; every method may raise sqlite3.Error or OSError."""

    def __init__(self, directory: Path, *, timeout_s: float = 5.0, read_only: bool = False) -> None:
        self.directory = directory
        self._db = schema.connect(directory, timeout_s=timeout_s, read_only=read_only)
        self._identity = _identity(directory)

    def close(self) -> None:
        self._db.close()

    @property
    def is_replaced(self) -> bool:
        """Whether the directory no longer holds the file that is open."""
        return _identity(self.directory) != self._identity

    # ---- reading

    def stored(self, blocks: Sequence[bytes]) -> list[int | None]:
        """For each hash the size of its file on disk in bytes; None where there is none to read."""
        sizes: dict[bytes, int] = {}
        for start in range(0, len(blocks), _AT_ONCE):
            some = blocks[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT hash, bytes FROM blocks WHERE hash IN ({marks}) AND owner IS NULL"  # noqa: S608
            sizes.update(self._db.execute(query, some).fetchall())
        return [sizes.get(block) for block in blocks]

    def totals(self, now_ms: int) -> Totals:
        models = self._db.execute("SELECT name, blocks, bytes FROM models WHERE blocks > 0")
        return Totals(
            {name: ModelTotals(blocks, size) for name, blocks, size in models},
            schema.index_bytes(self.directory),
            self._written(now_ms // DAY_MS),
        )

    def _written(self, day: int) -> int:
        row = self._db.execute("SELECT bytes FROM written WHERE day = ?", (day,)).fetchone()
        return row[0] if row else 0

    # ---- writing

    def reserve(
        self,
        owner: int,
        entries: Sequence[Entry],
        *,
        now_ms: int,
        limit_bytes: int,
        budget_bytes: int | None,
    ) -> Reserved:
        """Takes a place for each new block, evicting what was used longest ago.

        `budget_bytes` is what may be written to the directory on one day (UTC); None: any amount.
        A place is held until `commit` or `abandon`, or `STALE_MS`.
        """
        result = Reserved([], [], [], 0)
        evicted = 0
        day = now_ms // DAY_MS
        with transaction(self._db):
            written = self._written(day)
            used = self._used_bytes()
            held = used - self._evictable_bytes()
            known = self._known([entry.block for entry in entries], now_ms)
            for entry in entries:
                if entry.block in known:
                    continue
                if budget_bytes is not None and written + entry.size_bytes > budget_bytes:
                    result.over_budget.append(entry.block)
                    continue
                if held + entry.size_bytes > limit_bytes:
                    result.no_room.append(entry.block)
                    continue
                excess = used + entry.size_bytes - limit_bytes
                if excess > 0:
                    freed, count = self._evict(excess)
                    used, evicted = used - freed, evicted + count
                self._insert(entry, now_ms, owner)
                known.add(entry.block)
                used += entry.size_bytes
                held += entry.size_bytes
                written += entry.size_bytes
                result.accepted.append(entry.block)
            self._db.execute("DELETE FROM written WHERE day < ?", (day - 7,))
            self._db.execute(
                "INSERT INTO written VALUES (?, ?) "
                "ON CONFLICT (day) DO UPDATE SET bytes = excluded.bytes",
                (day, written),
            )
        return result._replace(evicted=evicted)

    def commit(self, owner: int, blocks: Iterable[bytes]) -> list[bytes]:
        """The files of these places are complete. Returns those whose place was lost meanwhile."""
        lost: list[bytes] = []
        with transaction(self._db):
            for block in blocks:
                done = self._db.execute(
                    "UPDATE blocks SET owner = NULL WHERE hash = ? AND owner = ?", (block, owner)
                )
                if not done.rowcount:
                    lost.append(block)
        return lost

    def abandon(self, owner: int, blocks: Iterable[bytes]) -> None:
        """Gives places back, and deletes what was written of their files."""
        with transaction(self._db):
            for block in blocks:
                done = self._db.execute(
                    "DELETE FROM blocks WHERE hash = ? AND owner = ?", (block, owner)
                )
                if done.rowcount:
                    layout.remove(self.directory, block)

    def adopt(self, entries: Iterable[Entry], now_ms: int) -> None:
        """Rows for complete files that no row knows."""
        with transaction(self._db):
            for entry in entries:
                if not self._known([entry.block], now_ms):
                    self._insert(entry, now_ms, None)

    def touch(self, blocks: Mapping[bytes, int]) -> None:
        """Hash → when it was used last, in milliseconds since 1970.

        A token deeper in a sequence counts as a millisecond longer ago: of blocks used together
        the last of a prefix goes first, since the others are of use without it.
        """
        with transaction(self._db):
            self._db.executemany(
                "UPDATE blocks SET used_ms = max(used_ms, ? - position) WHERE hash = ?",
                [(used_ms, block) for block, used_ms in blocks.items()],
            )

    def forget(self, blocks: Iterable[bytes]) -> None:
        """Drops blocks whose files are missing or unfit, with what is there of the files."""
        with transaction(self._db):
            for block in blocks:
                query = "DELETE FROM blocks WHERE hash = ? AND owner IS NULL"
                if self._db.execute(query, (block,)).rowcount:
                    layout.remove(self.directory, block)

    def shrink(self, limit_bytes: int) -> int:
        """Evicts until the directory keeps to the limit. Returns the number of blocks."""
        total = 0
        while True:
            with transaction(self._db):
                excess = self._used_bytes() - limit_bytes
                _, count = self._evict(excess, at_most=_AT_ONCE) if excess > 0 else (0, 0)
            total += count
            if not count:
                return total

    def clear(self, model: str | None = None) -> int:
        """Deletes the model's blocks, or all of them. Returns how many.

        What is being written at the moment stays.
        """
        where = "" if model is None else "AND model = (SELECT id FROM models WHERE name = ?)"
        query = f"SELECT hash FROM blocks WHERE owner IS NULL {where} LIMIT {_AT_ONCE}"  # noqa: S608
        total = 0
        while True:
            with transaction(self._db):
                found = self._db.execute(query, () if model is None else (model,)).fetchall()
                self._delete(block for (block,) in found)
            total += len(found)
            if not found:
                return total

    def drop_stale(self, now_ms: int) -> int:
        """Gives back the places of writers that are gone. Returns how many."""
        with transaction(self._db):
            found = self._db.execute(
                "SELECT hash FROM blocks WHERE owner IS NOT NULL AND used_ms + position < ?",
                (now_ms - STALE_MS,),
            ).fetchall()
            self._delete(block for (block,) in found)
        return len(found)

    def unknown_folder(self) -> str | None:
        """A folder that may hold files without a row: all those of a new index do."""
        row = self._db.execute("SELECT folder FROM unknown LIMIT 1").fetchone()
        return row[0] if row else None

    def known_in(self, folder: str) -> set[bytes]:
        """The hashes of all rows of a folder, being written or not."""
        first = int(folder, 16)
        query, bounds = "SELECT hash FROM blocks WHERE hash >= ?", [bytes([first << 4])]
        if first < 15:
            query, bounds = query + " AND hash < ?", [*bounds, bytes([first + 1 << 4])]
        return {block for (block,) in self._db.execute(query, bounds)}

    def suspect(self, folder: str) -> None:
        """Someone shall look into this folder again."""
        with transaction(self._db):
            self._db.execute("INSERT OR IGNORE INTO unknown VALUES (?)", (folder,))

    def looked_into(self, folder: str) -> None:
        with transaction(self._db):
            self._db.execute("DELETE FROM unknown WHERE folder = ?", (folder,))

    def tidy(self) -> None:
        """Gives pages that are free back to the disk and empties the write-ahead log."""
        self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self) -> None:
        """Asserts that the books balance: sums are those of the rows, files are not larger."""
        with transaction(self._db):
            sums = self._db.execute("SELECT model, count(*), sum(bytes) FROM blocks GROUP BY model")
            totals = self._db.execute("SELECT id, blocks, bytes FROM models WHERE blocks != 0")
            assert sorted(sums) == sorted(totals), "the sums are not those of the rows"
            for block, size in self._db.execute("SELECT hash, bytes FROM blocks"):
                path = layout.block_path(self.directory, block)
                if path.exists():
                    assert layout.disk_bytes(path.stat().st_size) <= size, path

    # ---- within a transaction

    def _used_bytes(self) -> int:
        (blocks,) = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM models").fetchone()
        return blocks + schema.index_bytes(self.directory)

    def _evictable_bytes(self) -> int:
        """Everything but what is being written: of that there is little."""
        (all_bytes,) = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM models").fetchone()
        (owned,) = self._db.execute(
            "SELECT coalesce(sum(bytes), 0) FROM blocks WHERE owner IS NOT NULL"
        ).fetchone()
        return all_bytes - owned

    def _known(self, blocks: Sequence[bytes], now_ms: int) -> set[bytes]:
        """Those that have a row; the rows of writers that are gone are dropped first."""
        known: set[bytes] = set()
        for block in blocks:
            row = self._db.execute(
                "SELECT owner, used_ms + position FROM blocks WHERE hash = ?", (block,)
            ).fetchone()
            if row is None:
                continue
            if row[0] is not None and row[1] < now_ms - STALE_MS:
                self._delete([block])
            else:
                known.add(block)
        return known

    def _insert(self, entry: Entry, now_ms: int, owner: int | None) -> None:
        self._db.execute("INSERT OR IGNORE INTO models (name) VALUES (?)", (entry.model,))
        self._db.execute(
            "INSERT INTO blocks (hash, model, position, bytes, used_ms, owner) "
            "VALUES (?, (SELECT id FROM models WHERE name = ?), ?, ?, ?, ?)",
            (
                entry.block,
                entry.model,
                entry.position,
                entry.size_bytes,
                now_ms - entry.position,
                owner,
            ),
        )

    def _evict(self, excess_bytes: int, at_most: int | None = None) -> tuple[int, int]:
        """Frees at least so many bytes, if there are so many; (bytes, blocks) that went."""
        freed = 0
        victims: list[bytes] = []
        rows = self._db.execute(
            "SELECT hash, bytes FROM blocks WHERE owner IS NULL ORDER BY used_ms"
        )
        with closing(rows):
            for block, size in rows:
                if freed >= excess_bytes or len(victims) == at_most:
                    break
                victims.append(block)
                freed += size
        self._delete(victims)
        return freed, len(victims)

    def _delete(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            layout.remove(self.directory, block)
            self._db.execute("DELETE FROM blocks WHERE hash = ?", (block,))


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = (directory / schema.NAME).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
