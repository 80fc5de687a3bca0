"""Frames come out in file order, soon, and all of them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import AccessUnit, Frame, Kind
from rokuga.recorder.sync.interleaver import ACTIVE_NS, MAX_FRAMES, MAX_HOLD_NS, Interleaver
from tests.recorder.sync.simulator import MS, S


def frame(kind: Kind, time_ms: float, arrival_ms: float | None = None) -> Frame:
    """A frame of this time that arrives then, or at another time."""
    arrival_ns = int((time_ms if arrival_ms is None else arrival_ms) * MS)
    return Frame(kind, AccessUnit(0, b"", True, arrival_ns), int(time_ms * MS))


def times_ms(frames: list[Frame]) -> list[tuple[str, float]]:
    return [(each.kind[0], each.time_ns / MS) for each in frames]


def test_frames_of_both_kinds_are_returned_by_time() -> None:
    interleaver = Interleaver()
    for each in (frame("video", 10), frame("audio", 0), frame("audio", 20), frame("video", 43), frame("audio", 40)):
        interleaver.push(each)
    assert times_ms(interleaver.pop(50 * MS)) == [("a", 0), ("v", 10), ("a", 20), ("a", 40)]
    interleaver.push(frame("audio", 60))
    assert times_ms(interleaver.pop(60 * MS)) == [("v", 43)]
    assert times_ms(interleaver.flush()) == [("a", 60)]
    assert interleaver.flush() == []


def test_a_kind_that_never_sends_holds_nothing_back() -> None:
    interleaver = Interleaver()
    interleaver.push(frame("audio", 0))
    assert times_ms(interleaver.pop(0)) == [("a", 0)]


def test_a_kind_that_stopped_holds_the_other_back_for_200_ms_at_most() -> None:
    interleaver = Interleaver()
    interleaver.push(frame("video", 0))
    interleaver.push(frame("audio", 10))
    assert times_ms(interleaver.pop(10 * MS)) == [("v", 0)]
    interleaver.push(frame("audio", 200))
    assert interleaver.pop(ACTIVE_NS) == []
    assert times_ms(interleaver.pop(ACTIVE_NS + 1)) == [("a", 10), ("a", 200)]


def test_a_kind_that_repairs_a_loss_is_waited_for() -> None:
    interleaver = Interleaver()
    interleaver.push(frame("video", 0))
    for at_ms in range(0, 1200, 20):
        interleaver.push(frame("audio", at_ms))
    assert times_ms(interleaver.pop(1200 * MS, waiting={"video"})) == [("v", 0), ("a", 0)]
    interleaver.push(frame("video", 33, arrival_ms=1200))
    interleaver.push(frame("video", 66, arrival_ms=70))
    assert times_ms(interleaver.pop(1200 * MS)) == [("a", 20), ("v", 33), ("a", 40), ("a", 60), ("v", 66)]


def test_nothing_is_waited_for_longer_than_the_longest_repair() -> None:
    interleaver = Interleaver()
    interleaver.push(frame("video", 0))
    interleaver.push(frame("audio", 1))
    interleaver.pop(1 * MS, waiting={"video"})
    assert interleaver.pop(MS + MAX_HOLD_NS, waiting={"video"}) == []
    assert times_ms(interleaver.pop(MS + MAX_HOLD_NS + 1, waiting={"video"})) == [("a", 1)]


def test_a_late_frame_is_returned_next() -> None:
    interleaver = Interleaver()
    interleaver.push(frame("video", 0))
    for at_ms in (0, 20, 400):
        interleaver.push(frame("audio", at_ms))
    assert len(interleaver.pop(S)) == 4
    interleaver.push(frame("video", 33, arrival_ms=1000))
    interleaver.push(frame("audio", 1000))
    assert times_ms(interleaver.pop(S)) == [("v", 33)]


def test_no_more_than_so_many_frames_are_held() -> None:
    interleaver = Interleaver()
    interleaver.push(frame("video", 0))
    for number in range(MAX_FRAMES + 10):
        interleaver.push(frame("audio", 1 + number / 100_000))
    assert len(interleaver.pop(2 * MS, waiting={"video"})) == 11


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["audio", "video"]),
            st.integers(0, 100),  # how far the time of its kind goes on, ms
            st.integers(0, 100),  # how far our clock goes on, ms
            st.sampled_from([(), ("audio",), ("video",), ("audio", "video")]),
            st.booleans(),
        )
    )
)
def test_any_input_every_frame_is_returned_once_in_the_order_of_its_kind(
    inputs: list[tuple[Kind, int, int, tuple[Kind, ...], bool]],
) -> None:
    """Nothing stays longer than the limit; without late frames all times grow."""
    interleaver = Interleaver()
    pushed: dict[Kind, list[Frame]] = {"audio": [], "video": []}
    times = {"audio": 0, "video": 0}
    out: list[Frame] = []
    now_ms = 0
    for kind, step_ms, passed_ms, waiting, pops in inputs:
        now_ms += passed_ms
        times[kind] += step_ms
        each = frame(kind, times[kind], now_ms)
        pushed[kind].append(each)
        interleaver.push(each)
        if pops:
            out += interleaver.pop(now_ms * MS, waiting)
            held = len(pushed["audio"]) + len(pushed["video"]) - len(out)
            young = [
                each for kind in pushed for each in pushed[kind] if now_ms * MS - each.unit.arrival_ns <= MAX_HOLD_NS
            ]
            assert held <= len(young)
    out += interleaver.flush()
    assert len(out) == len(pushed["audio"]) + len(pushed["video"])
    for kind, frames in pushed.items():
        assert [id(each) for each in out if each.kind == kind] == [id(each) for each in frames]


@given(st.lists(st.integers(1, 60), min_size=1), st.lists(st.integers(1, 60), min_size=1))
def test_two_kinds_that_flow_are_in_perfect_order(audio_ms: list[int], video_ms: list[int]) -> None:
    interleaver = Interleaver()
    frames: list[Frame] = []
    kinds: list[tuple[Kind, list[int]]] = [("audio", audio_ms), ("video", video_ms)]
    for kind, gaps in kinds:
        at_ms = 0
        for gap in gaps:
            at_ms += gap
            frames.append(frame(kind, at_ms, at_ms + (70 if kind == "video" else 10)))  # video arrives later
    frames.sort(key=lambda each: each.unit.arrival_ns)
    out: list[Frame] = []
    begun: set[str] = set()
    for each in frames:
        interleaver.push(each)
        begun.add(each.kind)
        if len(begun) == 2:
            out += interleaver.pop(each.unit.arrival_ns)
    out += interleaver.flush()
    assert len(out) == len(frames)
    assert all(before.time_ns <= after.time_ns for before, after in pairwise(out))


def test_pictures_in_decoding_order_stay_in_it() -> None:
    interleaver = Interleaver()
    for at_ms in (0, 120, 40, 80, 240):
        interleaver.push(frame("video", at_ms))
    for at_ms in range(0, 130, 20):
        interleaver.push(frame("audio", at_ms))
    found = times_ms(interleaver.pop(240 * MS)) + times_ms(interleaver.flush())
    assert [at_ms for kind, at_ms in found if kind == "v"] == [0, 120, 40, 80, 240]
    assert [at_ms for kind, at_ms in found if kind == "a"] == [*range(0, 130, 20)]
