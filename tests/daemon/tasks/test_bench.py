"""What becomes of the times at which tokens came."""

from __future__ import annotations

import pytest
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.tasks.bench import Plan, _Heard, cell


def test_all_rows_are_decoded_between_the_last_first_token_and_the_first_end() -> None:
    early = [_Heard(1.0 + i, 1) for i in range(5)]  # 1 … 5 s
    late = [_Heard(2.0 + i, 1) for i in range(5)]  # 2 … 6 s
    found = cell(100, 0.0, [early, late])
    assert (found.prompt_tokens, found.batch, found.output_tokens) == (100, 2, 5)
    assert found.prefill_tokens_per_s == pytest.approx(200 / 2)
    assert found.decode_tokens_per_s == pytest.approx(6 / 3)  # 3, 4, 5 s of both
    assert found.ttft_ms == pytest.approx(2000)


def test_rows_that_never_ran_together_are_measured_one_by_one() -> None:
    found = cell(10, 0.0, [[_Heard(1, 1), _Heard(2, 3)], [_Heard(5, 1), _Heard(6, 3)]])
    assert found.decode_tokens_per_s == pytest.approx(6 / 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt_tokens": ()},
        {"prompt_tokens": (0,)},
        {"batches": tuple(range(1, 12))},
        {"output_tokens": 1},
        {"rounds": 0},
        {"prompt_tokens": (100_000,), "batches": (100,)},
    ],
)
def test_a_plan_that_is_no_measurement_is_refused(wrong: dict) -> None:
    Plan(model="m").check()
    with pytest.raises(BadRequest):
        Plan(model="m", **wrong).check()
