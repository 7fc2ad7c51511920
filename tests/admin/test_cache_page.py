"""The plot of `/admin/cache`."""

from __future__ import annotations

from fastmlx.admin.activity import RANGES
from fastmlx.admin.pages.cache import draw
from fastmlx.daemon.store.rows import Series, Timeline


def test_tokens_from_the_cache_and_computed_ones_add_up():
    chosen = RANGES["1h"]
    zeros = (0,) * 60
    asked = (*zeros[:-2], 100, 50)
    cached = (*zeros[:-2], 0, 40)
    series = tuple(Series(name, zeros, asked, zeros, cached) for name in "ab")
    use = draw(Timeline(0, chosen.bucket_ms, chosen.buckets, series), chosen)
    assert (use.prompt_tokens, use.cached_tokens) == (300, 80)
    assert use.plot is not None
    assert len(use.plot.stacks) == 2
    assert draw(Timeline(0, chosen.bucket_ms, chosen.buckets, ()), chosen).plot is None
