"""A file that is in order has no fault; each way to spoil one is found and named."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from rokuga.devtools.soak.checks import Seen, check_file, check_parts, short, tail_faults
from rokuga.devtools.soak.webm import Block, WebmFile
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from tests.devtools.soak.staged import BEGIN_WALL_NS, SECONDS, Staged, sent


def faults(
    staged: Staged, file: WebmFile | None = None, *, loss: float = 0.0, killed_s: float = 0.0
) -> Sequence[str]:
    killed_wall_ns = BEGIN_WALL_NS + int(killed_s * NS_PER_S) if killed_s else None
    found = check_file(file or staged.file(), staged.document(), sent(), loss=loss, killed_wall_ns=killed_wall_ns)
    return found.faults


def test_a_file_that_is_in_order_has_no_fault() -> None:
    """Over three laps of its clip, whole or from the middle on, and however late all of it is."""
    assert not faults(Staged())
    assert not faults(Staged(begin_ms=3_000))
    assert not faults(Staged(late_ms={"audio": 300, "video": 310}))


def test_pictures_of_before_the_start_that_later_ones_need_are_no_fault() -> None:
    """They are shown at the start, 1 ms apart; the same pictures in the middle of a file are out of sync."""
    staged = Staged(begin_ms=3_160)
    file, video = staged.file(), sent().tracks["video"]
    needed = [video.track.units[place] for place in video.places[75:79]]
    file.blocks["video"][:0] = [Block(ms, unit.data, unit.is_keyframe) for ms, unit in enumerate(needed)]
    file.cues.insert(0, ("video", 0, True))
    assert not faults(staged, file)
    file.blocks["video"][:4] = [block._replace(time_ms=block.time_ms + 100) for block in file.blocks["video"][:4]]
    assert faults(staged, file)


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
    blocks[100:102] = [Block(a.time_ms, b.data, True), Block(b.time_ms, a.data, True)]


def foreign(file: WebmFile) -> None:
    file.blocks["video"][10] = Block(file.blocks["video"][10].time_ms, b"of somebody else", False)


def no_cues(file: WebmFile) -> None:
    file.cues.clear()


def false_cue(file: WebmFile) -> None:
    file.cues.append(("video", 17, False))


def wrong_length(file: WebmFile) -> None:
    file.duration_ms += 500


@pytest.mark.parametrize(
    ("spoil", "told"),
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
def test_each_way_to_spoil_a_file_is_found(spoil: Callable[[WebmFile], None], told: str) -> None:
    staged = Staged()
    file = staged.file()
    spoil(file)
    assert any(re.search(told, fault) for fault in faults(staged, file)), faults(staged, file)


def test_a_file_that_is_far_from_when_it_was_sent_is_found() -> None:
    assert any("from when it was sent" in fault for fault in faults(Staged(late_ms={"audio": 600, "video": 600})))


def test_what_is_lost_has_to_be_known_to_the_recorder() -> None:
    """With loss a gap is no fault if the counters tell of as many units, and a shift is one all the same."""
    file = Staged().file()
    without("audio", 100, 3)(file)
    known = Staged(stats={"audio": {"lost_packets": 3}, "video": {}})
    assert not faults(known, file, loss=0.02)
    less = Staged(stats={"audio": {"lost_packets": 2}, "video": {}})
    assert any(
        "3 units of audio are missing, the recorder knows of 2" in fault for fault in faults(less, file, loss=0.02)
    )
    shifted("audio", -46, 200)(file)
    assert any("out of sync" in fault for fault in faults(known, file, loss=0.02))


def test_a_kill_may_cost_a_second_and_no_more() -> None:
    staged = Staged(end_ms=7_000, stats={"is_recovered": True})
    assert not faults(staged, killed_s=7.9)
    assert any("too early" in fault for fault in faults(staged, killed_s=8.2))


def part(index: int, begin_ms: int, end_ms: int) -> Seen:
    staged = Staged(begin_ms, end_ms, index)
    return check_file(staged.file(), staged.document(), sent(), loss=0.0)


def together(*parts: Seen, whole: Seen | None = None, split_s: int = 4) -> Sequence[str]:
    explained: dict[Kind, int] = {"audio": 0, "video": 0}
    return list(check_parts(parts, whole, sent(), BEGIN_WALL_NS, split_s, loss=0.0, explained=explained))


def test_parts_follow_each_other_and_make_the_whole() -> None:
    parts = [part(1, 0, 4_000), part(2, 4_000, 8_000), part(3, 8_000, 10_000)]
    whole = check_file(Staged().file(), Staged().document(), sent(), loss=0.0)
    assert not [fault for each in (*parts, whole) for fault in each.faults]
    assert not together(*parts, whole=whole)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([(1, 0, 4_080), (2, 4_000, 8_000)], "parts 1 and 2 overlap by 4 units of audio"),
        ([(1, 0, 3_900), (2, 4_000, 8_000)], "5 units of audio are missing between parts 1 and 2"),
        ([(1, 0, 4_000), (3, 4_000, 8_000)], "the parts are numbered"),
        ([(1, 0, 6_000), (2, 6_000, 10_000)], "part 2 begins 2.00 s after a boundary"),
        ([(1, 0, 3_960), (2, 4_000, 8_000)], "part 2 begins 40.0 ms after the end"),
    ],
)
def test_each_way_to_spoil_parts_is_found(parts: list[tuple[int, int, int]], told: str) -> None:
    found = together(*(part(*each) for each in parts))
    assert any(told in fault for fault in found), found


def test_parts_that_are_not_the_whole_are_found() -> None:
    whole = part(0, 0, 10_000)
    assert any("begin with another unit" in f for f in together(part(1, 1_000, 4_000), whole=whole))
    assert any("end with another unit" in f for f in together(part(1, 0, 4_000), whole=whole))
    strange = replace(part(1, 0, 4_000), last={"audio": 10_000, "video": 99})
    assert any("was not sent" in f for f in together(strange))


def test_the_last_part_has_to_reach_the_end() -> None:
    last: dict[Kind, int] = {"audio": 480, "video": 240}
    end_wall_ns = BEGIN_WALL_NS + SECONDS * NS_PER_S
    assert not list(tail_faults(sent(), last, end_wall_ns, 400 * NS_PER_MS))
    assert list(tail_faults(sent(), last, end_wall_ns, 100 * NS_PER_MS))


def test_many_effects_of_one_cause_are_told_in_short() -> None:
    assert short(["a", "b", "c"], 2) == ["a", "b", "and 1 more"]
    assert short(["a"]) == ["a"]
