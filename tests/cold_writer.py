"""A process that writes to a cold tier until it is killed: `cold_writer.py DIRECTORY NAME LIMIT`.

After each round it prints the number of the round, all of whose blocks are then on disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

from blobs import blob_of, chain, is_right
from fastmlx.daemon.engine.kv.cold.store import ColdStore

BLOCKS = 6  # of a round


def main() -> None:
    directory, name, limit = sys.argv[1:]
    store = ColdStore(Path(directory), int(limit), open_timeout_s=20)
    print("ready", flush=True)
    for number in range(10_000):
        blocks = chain(f"{name}{number}", BLOCKS)
        for i, block in enumerate(blocks):
            store.write(block, blob_of(block, size=20_000, position=4 * (i + 1)))
        assert store.flush(20)
        ticket = store.read(blocks)
        assert ticket.wait(20)
        for block, blob in zip(blocks, ticket.result(), strict=False):
            assert is_right(block, blob), "a wrong block"
        stats = store.stats()
        assert stats.problem is None, stats.problem
        assert stats.failed_blocks + stats.dropped_blocks + stats.bad_blocks == 0, stats
        print(number, flush=True)


if __name__ == "__main__":
    main()
