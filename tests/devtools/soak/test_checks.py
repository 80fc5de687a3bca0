"""A file without faults passes; each kind of fault is found and named."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from rokuga.devtools.soak.checks import CheckedFile, check_file, check_parts, short, tail_faults
from rokuga.devtools.soak.webm import StoredBlock, WebmFile
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from tests.devtools.soak.sent_and_stored import BEGIN_WALL_NS, SECONDS, StoredFile, sent


def faults(
    stored: StoredFile, file: WebmFile | None = None, *, loss: float = 0.0, killed_s: float = 0.0
) -> Sequence[str]:
    killed_wall_ns = BEGIN_WALL_NS + int(killed_s * NS_PER_S) if killed_s else None
    found = check_file(file or stored.file(), stored.document(), sent(), loss=loss, killed_wall_ns=killed_wall_ns)
    return found.faults


def test_a_correct_file_has_no_fault() -> None:
    """Over three repetitions of its clip, from its start or its middle, with a constant delay."""
    assert not faults(StoredFile())
    assert not faults(StoredFile(begin_ms=3_000))
    assert not faults(StoredFile(late_ms={"audio": 300, "video": 310}))


def test_pictures_before_the_start_that_later_ones_depend_on_are_no_fault() -> None:
    """They are stored at the start, 1 ms apart; later in a file the same pictures are out of sync."""
    stored = StoredFile(begin_ms=3_160)
    file, video = stored.file(), sent().tracks["video"]
    needed = [video.track.units[place] for place in video.places[75:79]]
    file.blocks["video"][:0] = [StoredBlock(ms, unit.data, unit.is_keyframe) for ms, unit in enumerate(needed)]
    file.cues.insert(0, ("video", 0, True))
    assert not faults(stored, file)
    file.blocks["video"][:4] = [block._replace(time_ms=block.time_ms + 100) for block in file.blocks["video"][:4]]
    assert faults(stored, file)


def without(kind: Kind, begin: int, count: int = 1) -> Callable[[WebmFile], None]:
    return lambda file: file.blocks[kind].__delitem__(slice(begin, begin + count))


def shifted(kind: Kind, by_ms: int, begin: int = 0) -> Callable[[WebmFile], None]:
    def shift(file: WebmFile) -> None:
        blocks = file.blocks[kind]
        blocks[begin:] = [block._replace(time_ms=block.time_ms + by_ms) for block in blocks[begin:]]
        file.duration_ms += max(by_ms, 0)

    return shift


def doubled(file: WebmFile) -> None:
    file.blocks["audio"].insert(100, file.blocks["audio"][99])


def swapped(file: WebmFile) -> None:
    blocks = file.blocks["audio"]
    (a, b) = blocks[100:102]
    blocks[100:102] = [StoredBlock(a.time_ms, b.data, True), StoredBlock(b.time_ms, a.data, True)]


def foreign(file: WebmFile) -> None:
    file.blocks["video"][10] = StoredBlock(file.blocks["video"][10].time_ms, b"of another connection", False)


def no_cues(file: WebmFile) -> None:
    file.cues.clear()


def false_cue(file: WebmFile) -> None:
    file.cues.append(("video", 17, False))


def wrong_length(file: WebmFile) -> None:
    file.duration_ms += 500


@pytest.mark.parametrize(
    ("modify", "fault"),
    [
        (without("audio", 100), "1 units of audio are missing though"),
        (without("video", 30), "lacks the one before it"),
        (without("video", 50, 25), "25 units of video are missing though"),
        (without("audio", 0, 100), "audio begins 2000 ms after the archive"),
        (without("video", 200, 50), "video ends 1600 ms too early"),
        (without("audio", 0, 500), "audio is missing altogether"),
        (shifted("video", 45, 150), "out of sync: at .* video stands 50, audio 5 ms late"),
        (shifted("audio", -46, 250), "goes back in time"),
        (shifted("video", 450), "out of sync"),
        (doubled, "comes again or too late"),
        (swapped, "comes again or too late"),
        (foreign, "was not sent about then"),
        (no_cues, "no cues"),
        (false_cue, "a cue that leads to no key frame"),
        (wrong_length, "the header tells of"),
    ],
)
def test_each_fault_of_a_file_is_found(modify: Callable[[WebmFile], None], fault: str) -> None:
    stored = StoredFile()
    file = stored.file()
    modify(file)
    assert any(re.search(fault, found) for found in faults(stored, file)), faults(stored, file)


def test_a_file_far_from_its_sending_time_is_found() -> None:
    assert any("from when it was sent" in fault for fault in faults(StoredFile(late_ms={"audio": 600, "video": 600})))


def test_lost_units_must_appear_in_the_counters_of_the_recorder() -> None:
    """With loss a gap is no fault if the counters contain as many units; a shift is still one."""
    file = StoredFile().file()
    without("audio", 100, 3)(file)
    known = StoredFile(stats={"audio": {"lost_packets": 3}, "video": {}})
    assert not faults(known, file, loss=0.02)
    less = StoredFile(stats={"audio": {"lost_packets": 2}, "video": {}})
    assert any(
        "3 units of audio are missing, the recorder knows of 2" in fault for fault in faults(less, file, loss=0.02)
    )
    shifted("audio", -46, 200)(file)
    assert any("out of sync" in fault for fault in faults(known, file, loss=0.02))


def test_a_kill_may_lose_one_second_at_most() -> None:
    stored = StoredFile(end_ms=7_000, stats={"is_recovered": True})
    assert not faults(stored, killed_s=7.9)
    assert any("too early" in fault for fault in faults(stored, killed_s=8.2))


def part(index: int, begin_ms: int, end_ms: int) -> CheckedFile:
    stored = StoredFile(begin_ms, end_ms, index)
    return check_file(stored.file(), stored.document(), sent(), loss=0.0)


def together(*parts: CheckedFile, whole: CheckedFile | None = None, split_s: int = 4) -> Sequence[str]:
    explained: dict[Kind, int] = {"audio": 0, "video": 0}
    return list(check_parts(parts, whole, sent(), BEGIN_WALL_NS, split_s, loss=0.0, explained=explained))


def test_consecutive_parts_equal_the_whole_file() -> None:
    parts = [part(1, 0, 4_000), part(2, 4_000, 8_000), part(3, 8_000, 10_000)]
    whole = check_file(StoredFile().file(), StoredFile().document(), sent(), loss=0.0)
    assert not [fault for each in (*parts, whole) for fault in each.faults]
    assert not together(*parts, whole=whole)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([(1, 0, 4_080), (2, 4_000, 8_000)], "parts 1 and 2 overlap by 4 units of audio"),
        ([(1, 0, 3_900), (2, 4_000, 8_000)], "5 units of audio are missing between parts 1 and 2"),
        ([(1, 0, 4_000), (3, 4_000, 8_000)], "the parts are numbered"),
        ([(1, 0, 6_000), (2, 6_000, 10_000)], "part 2 begins 2.00 s after a boundary"),
        ([(1, 0, 3_960), (2, 4_000, 8_000)], "part 2 begins 40.0 ms after the end"),
    ],
)
def test_each_fault_of_parts_is_found(parts: list[tuple[int, int, int]], fault: str) -> None:
    found = together(*(part(*each) for each in parts))
    assert any(fault in each for each in found), found


def test_parts_that_differ_from_the_whole_file_are_found() -> None:
    whole = part(0, 0, 10_000)
    assert any("begin with another unit" in f for f in together(part(1, 1_000, 4_000), whole=whole))
    assert any("end with another unit" in f for f in together(part(1, 0, 4_000), whole=whole))
    strange = replace(part(1, 0, 4_000), last={"audio": 10_000, "video": 99})
    assert any("was not sent" in f for f in together(strange))


def test_the_last_part_must_reach_the_end() -> None:
    last: dict[Kind, int] = {"audio": 480, "video": 240}
    end_wall_ns = BEGIN_WALL_NS + SECONDS * NS_PER_S
    assert not list(tail_faults(sent(), last, end_wall_ns, 400 * NS_PER_MS))
    assert list(tail_faults(sent(), last, end_wall_ns, 100 * NS_PER_MS))


def test_a_long_list_of_faults_is_shortened() -> None:
    assert short(["a", "b", "c"], 2) == ["a", "b", "and 1 more"]
    assert short(["a"]) == ["a"]
