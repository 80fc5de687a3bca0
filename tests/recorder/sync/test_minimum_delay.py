"""The base of a run is the least lag of a sliding window, whatever comes in between."""

from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.sync.minimum_delay import STEP_NS, WINDOW_NS, MinimumDelayFilter
from tests.recorder.sync.simulator import MS, S


@given(
    st.lists(st.tuples(st.one_of(st.integers(0, 300), st.integers(0, 12_000)), st.integers(-500, 500)), min_size=1)
)
def test_base_and_recent_are_the_minimum_of_their_windows(inputs: list[tuple[int, int]]) -> None:
    """The window is a step or two longer than its name, never shorter; `add` says whenever the base moved."""
    arrivals = MinimumDelayFilter()
    now_ns = 0
    seen: list[tuple[int, int]] = []
    for passed_ms, lag_ms in inputs:
        now_ns += passed_ms * MS
        before_ns = arrivals.base_ns
        if seen:
            moved = arrivals.add(lag_ms * MS, now_ns)
            assert moved or arrivals.base_ns == before_ns
        else:
            arrivals.restart(lag_ms * MS, now_ns)
        seen.append((now_ns, lag_ms * MS))

        def least(window_ns: int) -> int:
            return min(lag_ns for at_ns, lag_ns in seen if at_ns > now_ns - window_ns)  # noqa: B023

        assert least(WINDOW_NS + 2 * STEP_NS + 1) <= arrivals.base_ns <= least(WINDOW_NS)
        assert least(3 * STEP_NS) <= arrivals.recent_ns <= least(STEP_NS)


def test_a_restart_forgets_what_was() -> None:
    arrivals = MinimumDelayFilter()
    arrivals.restart(5 * MS, S)
    arrivals.add(1 * MS, S + 1)
    arrivals.restart(700 * MS, 2 * S)
    assert (arrivals.base_ns, arrivals.recent_ns) == (700 * MS, 700 * MS)
