"""The tick that all periodic work of an event loop shares."""

import pytest

from rokuga.recorder.clock import TICK_MS, until_tick_s


@pytest.mark.parametrize(
    ("now_s", "expected_s"), [(0.0, 0.020), (1.001, 0.019), (1.019, 0.001), (1.02, 0.020), (86_400.0199996, 0.020)]
)
def test_the_next_tick_is_at_a_multiple_of_the_period_and_never_at_once(now_s: float, expected_s: float) -> None:
    assert until_tick_s(now_s) == pytest.approx(expected_s)


def test_all_callers_within_one_period_share_a_tick() -> None:
    moments = {round((now_ms / 1000 + until_tick_s(now_ms / 1000)) * 1000) for now_ms in range(TICK_MS)}
    assert moments == {TICK_MS}
