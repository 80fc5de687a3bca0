"""Recordings expire in time, and waiting for it costs nothing."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.expiries import MIN_STALE, Expiries
from rokuga.recorder.media import NS_PER_S
from tests.steps import steps
from tests.support.clock import FakeClock
from tests.support.recorder import running_recorder


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 100), st.booleans())), st.integers(0, 100))
def test_expired_values_are_returned_once_and_in_order(changes: list[tuple[int, int, bool]], now_ns: int) -> None:
    expiries: Expiries[int] = Expiries()
    expected: dict[int, int] = {}
    for key, expires_ns, is_added in changes:
        if is_added:
            expiries.add(str(key), expires_ns, key)
            expected[key] = expires_ns
        else:
            expiries.remove(str(key))
            expected.pop(key, None)
    due = sorted((expires_ns, str(key)) for key, expires_ns in expected.items() if expires_ns <= now_ns)
    assert [str(key) for key in expiries.pop_expired(now_ns)] == [key for _, key in due]
    assert expiries.pop_expired(now_ns) == []
    assert len(expiries) == len(expected) - len(due)


def test_finding_nothing_expired_costs_the_same_for_10000_recordings_as_for_one() -> None:
    def cost(count: int) -> int:
        expiries: Expiries[int] = Expiries()
        for number in range(count):
            expiries.add(str(number), 1000 + number, number)
        return steps(lambda: expiries.pop_expired(999))

    assert cost(10_000) == cost(1)


def test_entries_of_removed_recordings_do_not_fill_the_heap() -> None:
    """Many short recordings with a long expire_time must not fill the memory."""
    expiries: Expiries[int] = Expiries()
    for number in range(10 * MIN_STALE):
        expiries.add(str(number), 10**15, number)
        expiries.remove(str(number))
    assert len(expiries._heap) <= MIN_STALE + 1


async def test_a_tick_costs_the_same_with_many_idle_recordings_as_with_one(tmp_path: Path) -> None:
    clock = FakeClock()
    costs = []
    async with running_recorder(tmp_path, clock) as harness:
        for first, last in ((0, 1), (1, 60)):
            for number in range(first, last):
                await harness.start(f"channel-{number}", expire_time=3600)
            costs.append(steps(lambda: harness.recorder.tick(clock.now_ns)))
    assert costs[0] == costs[1]


async def test_each_recording_ends_at_its_own_expire_time(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running_recorder(tmp_path, clock) as harness:
        late, early, never = [
            await harness.start(name, expire_time=s) for name, s in (("a", 20), ("b", 10), ("c", 0))
        ]
        clock.now_ns += 10 * NS_PER_S
        await harness.reported(early.recording_id)
        assert {each.recording_id for each in harness.recorder.recordings()} == {
            late.recording_id,
            never.recording_id,
        }
        clock.now_ns += 10 * NS_PER_S
        await harness.reported(late.recording_id)
        assert [each.recording_id for each in harness.recorder.recordings()] == [never.recording_id]


async def test_a_recording_still_expires_after_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running_recorder(tmp_path, clock) as harness:
        state = await harness.start(expire_time=5)
    clock.now_ns += 5 * NS_PER_S
    async with running_recorder(tmp_path, clock) as harness:
        await harness.reported(state.recording_id)
