"""What was captured before an archive's start is left out, but the pictures that later ones depend on."""

from rokuga.recorder.media import AccessUnit, Frame, Kind
from rokuga.recorder.sync.archive_start import MAX_FRAMES, ArchiveStart
from tests.recorder.sync.simulator import MS, S


def frame(kind: Kind, time_ms: float, is_keyframe: bool = False) -> Frame:
    return Frame(kind, AccessUnit(0, b"", is_keyframe, 0), S + int(time_ms * MS))


def push(start: ArchiveStart, *frames: Frame) -> list[float]:
    """Return frames; return the times in ms from the start of those that are in the archive."""
    return [(placed.time_ns - S) / MS for each in frames for placed in start.push(each)]


def test_audio_of_before_the_start_is_left_out() -> None:
    assert push(
        ArchiveStart(S), frame("audio", -20), frame("audio", -0.1), frame("audio", 0), frame("audio", 20)
    ) == [
        0,
        20,
    ]


def test_the_first_audio_of_a_connection_is_kept_however_late_it_came() -> None:
    start = ArchiveStart(S)
    start.keeps_early_audio = True
    assert push(start, frame("audio", -20), frame("audio", -0.1), frame("audio", 20)) == [0, 0, 20]


def test_pictures_before_any_key_frame_are_left_out_and_one_is_wanted() -> None:
    start = ArchiveStart(S)
    assert push(start, frame("video", 10)) == []
    assert start.lacks_keyframe
    assert push(start, frame("video", 50, True), frame("video", 90)) == [50, 90]


def test_only_pictures_that_the_first_one_depends_on_are_kept_and_shown_at_once() -> None:
    start = ArchiveStart(S)
    before = [frame("video", ms, ms in {-900, -60}) for ms in range(-900, 0, 40)]
    assert push(start, *before) == []
    assert push(start, frame("video", 20), frame("video", 60)) == [0, 1, 20, 60]


def test_a_key_frame_at_the_start_needs_nothing_of_before() -> None:
    assert push(ArchiveStart(S), frame("video", -40, True), frame("video", -1), frame("video", 30, True)) == [30]


def test_pictures_close_up_after_those_of_before_the_start() -> None:
    before = [frame("video", ms, ms == -100) for ms in range(-100, 0)]
    after = [frame("video", ms) for ms in (10, 50, 90, 130)]
    assert push(ArchiveStart(S), *before, *after)[-4:] == [100, 101, 102, 130]


def test_an_archive_of_which_nothing_was_captured_after_its_start_has_what_there_is() -> None:
    start = ArchiveStart(S)
    assert push(start, frame("video", -40, True), frame("video", -1)) == []
    assert [each.time_ns - S for each in start.flush()] == [0, MS]
    assert not start.flush()


def test_no_more_than_so_many_pictures_wait() -> None:
    start = ArchiveStart(S)
    frames = [frame("video", -5000 + number, number == 0) for number in range(MAX_FRAMES + 1)]
    assert len(push(start, *frames)) == MAX_FRAMES + 1


def test_two_pictures_of_one_ms_are_set_apart_and_those_in_decoding_order_are_not() -> None:
    start = ArchiveStart(S)
    assert push(start, frame("video", 0, True), frame("video", 0.3), frame("video", 0.6)) == [0, 1, 2]
    assert push(start, frame("video", 120), frame("video", 40), frame("video", 80)) == [120, 40, 80]
