"""Every target on what a fuzzer once found, on its seeds, and on bytes that hypothesis makes up."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

KEPT = sorted((Path(__file__).parent / "kept").glob("*/*"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name[:24]}")
def test_what_was_found_once_is_borne(path: Path):
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_borne(name: str):
    starts = list(seeds(name))

    @st.composite
    def inputs(draw: st.DrawFn) -> bytes:
        """Bytes, or a seed of which some are replaced."""
        if draw(st.booleans()):
            return draw(st.binary(max_size=300))
        seed = bytearray(draw(st.sampled_from(starts)))
        for at, bits in draw(st.lists(st.tuples(st.integers(0, len(seed)), st.binary(max_size=4)))):
            seed[at : at + len(bits)] = bits
        return bytes(seed)

    @settings(max_examples=60, deadline=None)
    @given(inputs())
    def bears(data: bytes) -> None:
        TARGETS[name](data)

    for seed in starts:
        TARGETS[name](seed)
    bears()
