"""Two runs beside each other."""

from __future__ import annotations

from fastmlx.admin.bench import compare
from fastmlx.daemon.store.bench_runs import Cell, Run


def run(*cells: tuple[int, int, float]) -> Run:
    made = [Cell(prompt, batch, 4, rate * 10, rate, 5.0) for prompt, batch, rate in cells]
    return Run(at_ms=0, model="m", version="v", machine="x", cells=made)


def test_what_both_have_is_compared() -> None:
    found = compare(run((8, 1, 100), (8, 2, 150), (9, 1, 1)), run((8, 2, 300), (8, 1, 50)))
    assert [(row.prompt_tokens, row.batch) for row in found.rows] == [(8, 1), (8, 2)]
    assert [row.ratio("decode_tokens_per_s") for row in found.rows] == [0.5, 2.0]
    assert found.missing == 1
    assert [len(plot.stacks) for plot in found.plots] == [2, 2, 2]
    assert [hover.text for hover in found.plots[1].hovers][:2] == [
        "1 × 8: 100\nfirst run 100",
        "1 × 8: 50\nsecond run 50",
    ]


def test_one_run_alone_has_no_ratio() -> None:
    found = compare(run((8, 1, 100)), None)
    assert (found.rows[0].ratio("ttft_ms"), found.missing) == (None, 0)
    assert compare(run((8, 1, 1)), run((9, 1, 1))).plots == []
