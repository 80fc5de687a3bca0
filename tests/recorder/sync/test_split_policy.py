"""Where an archive is cut: at key frames near the boundaries, by time without video, nothing lost or doubled."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import AccessUnit, Frame, Kind
from rokuga.recorder.sync.split_policy import CLOSE_AFTER_NS, CLOSE_LATE_NS, SplitPolicy
from tests.recorder.sync.simulator import MS, S, steps

PICTURE_NS = 33_333_333


@dataclass(slots=True)
class Archive:
    """What an archiver does with a policy: parts that are open get frames, complete ones are closed."""

    policy: SplitPolicy
    parts: dict[int, list[Frame]] = field(default_factory=dict)
    begins_ns: dict[int, int] = field(default_factory=dict)
    closed: int = 0

    def write(self, kind: Kind, offset_ns: int, is_keyframe: bool = True, now_ns: int | None = None) -> int:
        """Write a frame; return its part."""
        frame = Frame(kind, AccessUnit(0, b"", is_keyframe, offset_ns), offset_ns)
        part = self.policy.assign(frame, offset_ns)
        assert part >= self.closed, "a closed part gets nothing"
        self.parts.setdefault(part, []).append(frame)
        self.begins_ns[part] = self.policy.begin_ns(part)
        self.tick(offset_ns if now_ns is None else now_ns)
        return part

    def tick(self, now_ns: int) -> None:
        """Close what is complete."""
        open_from = self.policy.open_from(now_ns)
        assert open_from >= self.closed
        self.closed = open_from

    def video_starts(self) -> dict[int, Frame]:
        """The first picture of each part."""
        firsts = {
            part: next((each for each in frames if each.kind == "video"), None) for part, frames in self.parts.items()
        }
        return {part: first for part, first in firsts.items() if first is not None}


def record(
    policy: SplitPolicy,
    stop_ns: int,
    answers_after_ns: int | None = 300 * MS,
    keyframe_every_ns: int | None = None,
    audio: bool = True,
    muted: tuple[int, int] = (0, 0),
) -> tuple[Archive, list[int]]:
    """Publish both kinds in file order with ticks every 20 ms; return the archive and when a key frame was wanted."""
    archive = Archive(policy)
    asked_ns: list[int] = []
    due_ns = 0
    events = [(at_ns, "tick") for at_ns in steps(0, stop_ns, 20 * MS)]
    events += [(at_ns, "audio") for at_ns in steps(7 * MS, stop_ns, 20 * MS) if audio]
    events += [(at_ns, "video") for at_ns in steps(0, stop_ns, PICTURE_NS) if not muted[0] <= at_ns < muted[1]]
    for at_ns, what in sorted(events):
        if what == "tick":
            archive.tick(at_ns)
            if policy.keyframe_wanted(at_ns):
                asked_ns.append(at_ns)
                if answers_after_ns is not None and due_ns < 0:
                    due_ns = at_ns + answers_after_ns
        elif what == "audio":
            archive.write("audio", at_ns)
        else:
            is_keyframe = 0 <= due_ns <= at_ns
            archive.write("video", at_ns, is_keyframe)
            if is_keyframe:
                due_ns = at_ns + keyframe_every_ns if keyframe_every_ns else -1
    return archive, asked_ns


@pytest.mark.parametrize("duration_s", [1, 2, 10, 60])
@pytest.mark.parametrize("answer_ms", [40, 150, 300, 700])
def test_parts_begin_with_a_key_frame_within_half_a_second(duration_s: int, answer_ms: int) -> None:
    """Key frames come only when asked for; the last, slow answer is outside of the promise but not by much."""
    count = 5
    archive, asked = record(
        SplitPolicy(duration_s * S, has_video=True), count * duration_s * S - S // 2, answer_ms * MS
    )
    assert list(archive.parts) == list(range(count))
    for part, first in archive.video_starts().items():
        assert first.unit.is_keyframe
        assert -0.5 <= (archive.begins_ns[part] - part * duration_s * S) / S <= max(0.5, answer_ms / 1000)
    assert len(asked) <= 3 * (count - 1)
    if answer_ms < 300:
        assert len(asked) == count - 1


def test_one_lost_request_is_repeated_in_time() -> None:
    policy = SplitPolicy(10 * S, has_video=True)
    archive = Archive(policy)
    archive.write("video", 0)
    archive.write("video", 9_600 * MS, is_keyframe=False)
    wanted = []
    for at_ns in steps(9_600 * MS, 14 * S, 20 * MS):
        archive.write("video", at_ns + 1, is_keyframe=False)
        if policy.keyframe_wanted(at_ns):
            wanted.append(at_ns // MS)
    assert wanted[:3] == [9700, 10_000, 10_300]
    pauses = [after - before for before, after in pairwise(wanted)]
    assert pauses == sorted(pauses)
    assert len(wanted) < 10


def test_video_that_ignores_requests_is_cut_at_its_next_key_frame() -> None:
    archive, _ = record(SplitPolicy(10 * S, has_video=True), 60 * S, None, keyframe_every_ns=6500 * MS)
    begins = [begin_ns / S for begin_ns in archive.begins_ns.values()]
    assert begins == pytest.approx([0, 13, 26, 32.5, 45.5, 52], abs=0.3)
    assert all(first.unit.is_keyframe for first in archive.video_starts().values())


def test_a_group_of_pictures_longer_than_a_part_makes_no_empty_parts() -> None:
    archive, _ = record(SplitPolicy(2 * S, has_video=True), 20 * S, None, keyframe_every_ns=7 * S)
    assert list(archive.parts) == [0, 1, 2]
    assert [round(begin_ns / S) for begin_ns in archive.begins_ns.values()] == [0, 7, 14]


def test_a_key_frame_each_second_makes_no_more_parts() -> None:
    """Parts of 60 s over 180 s: three of them, however often a key frame offers itself."""
    policy = SplitPolicy(60 * S, has_video=True, has_audio=False)
    archive = Archive(policy)
    for place in range(180 * 30 - 15):
        archive.write("video", place * PICTURE_NS, is_keyframe=place % 30 == 0)
    assert len(archive.parts) == 3


def test_audio_alone_is_cut_exactly() -> None:
    policy = SplitPolicy(10 * S, has_video=False)
    archive = Archive(policy)
    for at_ns in steps(7 * MS, 60 * S, 20 * MS):
        assert archive.write("audio", at_ns) == at_ns // (10 * S)
        assert archive.closed == at_ns // (10 * S)
    assert list(archive.begins_ns.values()) == steps(0, 60 * S, 10 * S)
    assert not policy.keyframe_wanted(59_900 * MS)


def test_audio_that_was_silent_over_several_boundaries_makes_no_empty_parts() -> None:
    archive = Archive(SplitPolicy(10 * S, has_video=False))
    assert [archive.write("audio", at_s * S) for at_s in (0, 9, 35, 39, 40)] == [0, 0, 1, 1, 2]
    assert archive.begins_ns == {0: 0, 1: 30 * S, 2: 40 * S}


@pytest.mark.parametrize("late_ms", [0, 60, 400])
def test_each_opus_packet_is_in_exactly_one_part(late_ms: int) -> None:
    """The key frame of 10.00 s makes the cut, the audio of 9.94 to 10.00 s is written after it."""
    archive = Archive(SplitPolicy(10 * S, has_video=True))
    events: list[tuple[int, Kind, int]] = [(at + late_ms * MS, "audio", at) for at in steps(0, 20 * S, 20 * MS)]
    events += [(at, "video", at) for at in steps(0, 20 * S, 40 * MS)]
    for now_ns, kind, at_ns in sorted(events, key=lambda event: (event[0], event[1] == "audio")):
        archive.write(kind, at_ns, is_keyframe=at_ns % (10 * S) == 0, now_ns=now_ns)
    for part, frames in archive.parts.items():
        offsets = [each.time_ns for each in frames if each.kind == "audio"]
        assert offsets == steps(part * 10 * S, (part + 1) * 10 * S, 20 * MS)
    assert archive.closed == 1


def test_audio_ahead_of_the_key_frame_stays_in_the_old_part() -> None:
    """The reverse: audio of up to 10.06 s is written before the key frame of 10.00 s is."""
    archive = Archive(SplitPolicy(10 * S, has_video=True))
    archive.write("video", 0)
    for at_ms in (9_960, 10_020, 10_060):
        archive.write("video", at_ms * MS - 50 * MS, is_keyframe=False)
        assert archive.write("audio", at_ms * MS) == 0
    assert archive.write("video", 10_012 * MS) == 1
    assert archive.write("audio", 10_080 * MS) == 1
    assert archive.closed == 1


@pytest.mark.parametrize(("audio_ns", "close_after_ns"), [(9 * S, CLOSE_LATE_NS), (None, CLOSE_AFTER_NS)])
def test_a_part_is_closed_after_a_while_even_if_audio_stopped(audio_ns: int | None, close_after_ns: int) -> None:
    """Sound that stopped in this part may be held up; sound that never was in it is not waited for as long."""
    archive = Archive(SplitPolicy(10 * S, has_video=True))
    archive.write("video", 0)
    if audio_ns is not None:
        archive.write("audio", audio_ns)
    archive.write("video", 10 * S)
    archive.tick(10 * S + close_after_ns - 1)
    assert archive.closed == 0
    archive.tick(10 * S + close_after_ns)
    assert archive.closed == 1
    assert archive.write("audio", 9_500 * MS, now_ns=21 * S) == 1, "too late for its part, but not lost"


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_kind_that_is_delayed_over_a_boundary_goes_to_the_part_of_its_time(kind: Kind) -> None:
    """It comes 4 s late: what is of before the boundary belongs before it, a key frame and what follows it too."""
    archive = Archive(SplitPolicy(10 * S, has_video=True))
    other: Kind = "video" if kind == "audio" else "audio"
    archive.write(kind, 0)
    for second in range(14):
        archive.write(other, second * S)
    parts = [archive.write(kind, second * S, now_ns=14 * S) for second in (8, 9, 10, 11)]
    assert parts == [0, 0, 1, 1]


def test_video_alone_closes_at_once() -> None:
    archive = Archive(SplitPolicy(10 * S, has_video=True, has_audio=False))
    archive.write("video", 0)
    assert archive.write("video", 10_100 * MS) == 1
    assert archive.closed == 1


@pytest.mark.parametrize("video_until_s", [None, 0, 5])
def test_video_that_is_silent_over_the_boundary_is_cut_by_audio(video_until_s: int | None) -> None:
    policy = SplitPolicy(10 * S, has_video=True)
    archive = Archive(policy)
    asked = 0
    for at_ns in steps(0, 35 * S, 20 * MS):
        if video_until_s is not None and at_ns <= video_until_s * S:
            archive.write("video", at_ns)
        assert archive.write("audio", at_ns) == at_ns // (10 * S)
        asked += policy.keyframe_wanted(at_ns)
    assert list(archive.begins_ns.values()) == [0, 10 * S, 20 * S, 30 * S]
    assert asked == 0 if video_until_s is None else 3 < asked < 30, "it may answer, but it is not flooded"


def test_each_part_of_a_screen_at_rest_has_a_picture_if_the_sender_answers() -> None:
    """It sends one picture at first, and a key frame 200 ms after each request; nothing else."""
    policy = SplitPolicy(10 * S, has_video=True)
    archive = Archive(policy)
    answers_ns = [0]
    for at_ns in steps(0, 59 * S, 20 * MS):
        if answers_ns and answers_ns[0] <= at_ns:
            archive.write("video", at_ns)
            answers_ns.clear()
        archive.write("audio", at_ns)
        if policy.keyframe_wanted(at_ns):
            answers_ns.append(at_ns + 200 * MS)
    assert list(archive.video_starts()) == list(range(6))
    assert [len([each for each in frames if each.kind == "video"]) for frames in archive.parts.values()] == [1] * 6


def test_video_that_falls_silent_just_at_the_boundary_is_cut_a_second_later() -> None:
    """Audio after the boundary is in the old part already: the cut is where it was made."""
    archive, _ = record(SplitPolicy(10 * S, has_video=True), 25 * S, muted=(9_800 * MS, 30 * S))
    assert archive.begins_ns[1] / S == pytest.approx(10.8, abs=0.05)
    assert archive.begins_ns[2] / S == 20
    assert list(archive.parts) == [0, 1, 2]


def test_video_that_continues_after_a_cut_by_audio_stays_with_its_key_frame_or_requests_one() -> None:
    policy = SplitPolicy(10 * S, has_video=True)
    archive = Archive(policy)
    archive.write("video", 0)
    archive.write("audio", 10 * S)
    assert archive.write("video", 10 * S + 500 * MS, is_keyframe=False) == 0, "decodable there, and it is still open"
    archive.write("audio", 12 * S)
    assert archive.closed == 1
    assert archive.write("video", 12 * S, is_keyframe=False) == 1
    assert policy.keyframe_wanted(12 * S)
    assert not policy.keyframe_wanted(12_100 * MS)
    assert archive.write("video", 12_200 * MS) == 1
    assert not policy.keyframe_wanted(12_600 * MS)


def test_a_part_cannot_last_no_time() -> None:
    with pytest.raises(ValueError, match="cannot last 0 ns"):
        SplitPolicy(0, has_video=True)


@given(
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(["audio", "video"]), st.booleans(), st.integers(0, 3000), st.integers(0, 1500)),
        max_size=80,
    ),
)
def test_any_input_parts_joined_are_the_whole_recording(
    duration_s: int, has_video: bool, has_audio: bool, inputs: list[tuple[Kind, bool, int, int]]
) -> None:
    """Each frame is in one part that is open; within a part and a kind, and over the parts, order is kept."""
    archive = Archive(SplitPolicy(duration_s * S, has_video, has_audio))
    offsets: dict[Kind, int] = {"audio": 0, "video": 0}
    written: list[tuple[Kind, int]] = []
    begun_ns = 0
    for kind, is_keyframe, step_ms, now_ms in inputs:
        offsets[kind] += step_ms * MS
        archive.write(kind, offsets[kind], is_keyframe, offsets[kind] + now_ms * MS)
        written.append((kind, offsets[kind]))
        assert archive.begins_ns[max(archive.parts)] >= begun_ns
        begun_ns = archive.begins_ns[max(archive.parts)]
        archive.policy.keyframe_wanted(offsets[kind])
    joined = [(each.kind, each.time_ns) for part in sorted(archive.parts) for each in archive.parts[part]]
    assert sorted(joined) == sorted(written)
    for kind in ("audio", "video"):
        assert [at for of, at in joined if of == kind] == sorted(at for of, at in written if of == kind)
