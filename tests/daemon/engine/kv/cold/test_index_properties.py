"""Any order of what several writers do to one index: the books balance and the limit holds."""

from __future__ import annotations

import tempfile
from pathlib import Path

from blobs import chain
from fastmlx.daemon.cold import layout
from fastmlx.daemon.cold.index import STALE_MS, Entry, Index
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

BLOCKS: list[bytes] = [*chain("a", 12)]
BLOCK = st.sampled_from(BLOCKS)
SIZES = st.integers(1, 300_000)
OWNER = st.integers(1, 2)
LIMIT = 2_200_000  # the index claims more than half of it


class Writers(RuleBasedStateMachine):
    """Two owners over one index; files hold as many zeros as their row says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.index = Index(self.directory)
        self.now_ms = 1_700_000_000_000
        self.held: dict[int, set[bytes]] = {1: set(), 2: set()}
        self.used: dict[bytes, int] = {}

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()

    @rule(owner=OWNER, wanted=st.lists(st.tuples(BLOCK, SIZES), max_size=4))
    def reserve(self, owner: int, wanted: list[tuple[bytes, int]]) -> None:
        self.now_ms += 1000
        entries = [
            Entry(b, f"model{BLOCKS.index(b) % 3}", 0, layout.disk_bytes(n)) for b, n in wanted
        ]
        before = set(self.stored())
        reserved = self.index.reserve(
            owner, entries, now_ms=self.now_ms, limit_bytes=LIMIT, budget_bytes=None
        )
        gone = before - set(self.stored())
        assert len(gone) == reserved.evicted
        kept = before - gone
        if gone and kept:
            assert max(self.used[b] for b in gone) <= min(self.used[b] for b in kept)
        sizes = dict(wanted)
        for block in reserved.accepted:
            assert block not in before or block in gone
            path = layout.block_path(self.directory, block)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(min(sizes[block], 10)))
            for blocks in self.held.values():
                blocks.discard(block)
            self.held[owner].add(block)
            self.used[block] = self.now_ms

    @rule(owner=OWNER)
    def commit(self, owner: int) -> None:
        lost = self.index.commit(owner, self.held[owner])
        assert set(self.stored()) >= self.held[owner] - set(lost)
        self.held[owner].clear()

    @rule(owner=OWNER)
    def abandon(self, owner: int) -> None:
        self.index.abandon(owner, self.held[owner])
        assert not set(self.stored()) & self.held[owner]
        self.held[owner].clear()

    @precondition(lambda self: self.stored())
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(sorted(self.stored())))
        self.now_ms += 1000
        self.index.touch({block: self.now_ms})
        self.used[block] = self.now_ms

    @rule(block=BLOCK)
    def forget(self, block: bytes) -> None:
        self.index.forget([block])
        assert block not in self.stored()

    @rule()
    def sleep_long(self) -> None:
        self.now_ms += STALE_MS + 1000
        self.index.drop_stale(self.now_ms)

    @rule(model=st.sampled_from([None, "model0", "model1", "nobody"]))
    def clear(self, model: str | None) -> None:
        self.index.clear(model)
        if model is None:
            assert not self.stored()

    @rule(limit=st.integers(1_200_000, LIMIT))
    def shrink(self, limit: int) -> None:
        self.index.shrink(limit)

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index(self.directory)

    def stored(self) -> list[bytes]:
        sizes = self.index.stored(BLOCKS)
        return [b for b, size in zip(BLOCKS, sizes, strict=True) if size is not None]

    @invariant()
    def the_books_balance(self) -> None:
        self.index.check()
        assert self.index.totals(self.now_ms).size_bytes <= LIMIT
        for block in self.stored():
            assert layout.block_path(self.directory, block).exists()
        files = {layout.hash_of(path.name) for path in self.directory.glob("blocks/*/*")}
        rows = {b for letter in layout.FOLDERS for b in self.index.known_in(letter)}
        assert files <= rows, "a file that no row knows"


Writers.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_writers = Writers.TestCase
