"""Properties of the muxer, the reader and the repair: frames are read back, and any damage is repaired or refused."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.archive.container import Unplayable
from rokuga.recorder.archive.webm.ebml import LayoutError, element, read_element, unsigned, void
from rokuga.recorder.archive.webm.layout import AudioEntry, Description, VideoEntry, header
from rokuga.recorder.archive.webm.muxer import WebmMuxer
from rokuga.recorder.archive.webm.reader import Read, read_contents, read_header
from rokuga.recorder.archive.webm.repair import repair
from rokuga.recorder.codecs.opus import opus_head
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig
from tests import readers
from tests.support.recorder import VP8_FRAME

START_WALL_NS = 1_700_000_000_123_456_789
UID = bytes(range(16))
AUDIO = AudioEntry("A_OPUS", 2, opus_head(), 80_000_000)
VIDEO = VideoEntry("V_VP8", 320, 180)
Frames = list[tuple[Kind, bytes, int, bool]]


@st.composite
def frames(draw: st.DrawFn) -> Frames:
    """Draw a sequence of frames in which the times of each kind do not decrease."""
    times: dict[Kind, int] = {"audio": 0, "video": 0}
    found: Frames = []
    for i in range(draw(st.integers(1, 60))):
        kind: Kind = draw(st.sampled_from(("audio", "video")))
        times[kind] += draw(st.sampled_from((0, 1, 20, 33, 400, 33_000)))
        key = kind == "audio" or not any(each[0] == "video" for each in found) or draw(st.booleans())
        size = draw(st.sampled_from((0, 5, 3000, 40_000)))
        data = b"\xfc%d" % i if kind == "audio" else VP8_FRAME[key] + b"%d" % i + bytes(size)
        found.append((kind, data, times[kind], key))
    return found


def mux(path: Path, units: Frames, *, close: bool = True) -> int:
    """Write a file."""
    muxer = WebmMuxer(str(path), TrackConfig("OPUS"), TrackConfig("VP8"), UID, START_WALL_NS)
    described = set()
    for kind, data, time_ms, key in units:
        if kind not in described:
            assert muxer.begin_track(kind, AccessUnit(0, data, True, 0, VIDEO.width, VIDEO.height))
            described.add(kind)
        muxer.write(kind, data, time_ms * NS_PER_MS, key)
        if len(data) % 3:
            muxer.flush()
    if close:
        return muxer.finish()
    muxer.abandon()
    return 0


@given(frames())
@settings(max_examples=60)
def test_what_is_written_is_read_back(tmp_path: Path, units: Frames) -> None:
    """Payload, time to the ms and key flag of every frame, in order; size, duration and date as they were."""
    path = tmp_path / "file.webm"
    assert mux(path, units) == path.stat().st_size
    found = readers.packets(path)
    for kind in found:
        assert found[kind] == [(data, time_ms, key) for each, data, time_ms, key in units if each == kind]
    read = reading(path)
    head = read_header(read)
    assert head.description == Description(
        UID,
        START_WALL_NS,
        VIDEO if found["video"] else None,
        AUDIO if found["audio"] else None,
    )
    assert head.file_bytes == path.stat().st_size
    assert head.duration_ms == max(1, *(time_ms for _, _, time_ms, _ in units))
    contents = read_contents(read, head, path.stat().st_size)
    assert contents.duration_ms <= head.duration_ms
    keyframes = [time_ms for kind, _, time_ms, key in units if kind == "video" and key]
    if keyframes:
        assert [point.time_ms for point in contents.cue_points] == keyframes


@given(frames(), st.floats(0, 1), st.booleans())
@settings(max_examples=60)
def test_a_file_that_was_cut_anywhere_is_repaired_to_a_prefix(
    tmp_path: Path, units: Frames, place: float, closed: bool
) -> None:
    """It has the first frames of each kind; a second repair changes nothing."""
    path = tmp_path / "file.webm"
    mux(path, units, close=closed)
    with path.open("r+b") as file:
        file.truncate(round(place * path.stat().st_size))
    repaired = repair(str(path))
    if isinstance(repaired, Unplayable):
        return
    found = readers.packets(path)
    for kind in found:
        sent = [(data, time_ms, key) for each, data, time_ms, key in units if each == kind]
        assert found[kind] == sent[: len(found[kind])]
    before = path.read_bytes()
    assert repair(str(path)) == repaired
    assert path.read_bytes() == before
    assert repaired.size_bytes == len(before)


@given(st.binary(max_size=600), st.integers(0, 3000), st.booleans())
@settings(max_examples=150)
def test_any_damage_is_repaired_or_refused(tmp_path: Path, noise: bytes, place: int, whole: bool) -> None:
    """Any bytes anywhere in a file, or nothing but them: a finished file or a refusal, and no exception."""
    path = tmp_path / "file.webm"
    units: Frames = [("audio", b"\xfc%d" % time_ms, time_ms, True) for time_ms in range(0, 2000, 20)]
    mux(path, units, close=False)
    with path.open("r+b") as file:
        if whole:
            file.truncate(0)
        file.seek(0 if whole else place)
        file.write(noise)
    made = repair(str(path))
    assert isinstance(made, Unplayable) or made.size_bytes == path.stat().st_size


def reading(path: Path) -> Read:
    """Return a function that reads a file."""
    data = path.read_bytes()
    return lambda size, offset: data[offset : offset + size]


def test_the_header_on_the_disk_is_readable_after_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first write to the last one."""
    path = tmp_path / "file.webm"
    pwrite, seen = os.pwrite, 0

    def watching(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal seen
        written = pwrite(descriptor, data, offset)
        assert b"WebRTC SFU Sora" in path.read_bytes()[:400]
        seen += 1
        return written

    monkeypatch.setattr(os, "pwrite", watching)
    mux(path, [("audio", b"\xfc%d" % time_ms, time_ms, True) for time_ms in range(0, 3000, 20)])
    assert seen > 5


@pytest.mark.parametrize("total", [0, 2, 3, 8, 9, 10, 500])
def test_void_fills_exactly(total: int) -> None:
    """Any size but one byte."""
    assert len(void(total)) == total
    if total:
        assert read_element(void(total), 0).end == total
    with pytest.raises(LayoutError):
        void(1)


@given(st.integers(0, 2**56), st.binary(max_size=300))
def test_elements_are_read_as_they_were_written(value: int, data: bytes) -> None:
    """Numbers and bytes."""
    number = unsigned(0xE7, value)
    read = read_element(number, 0)
    assert int.from_bytes(number[read.data_offset : read.end], "big") == value
    wrapped = element(0x1F43B675, data)
    read = read_element(wrapped, 0)
    assert (read.id, wrapped[read.data_offset : read.end]) == (0x1F43B675, data)


@given(st.binary(max_size=20))
def test_any_bytes_are_an_element_or_a_layout_error(data: bytes) -> None:
    """Nothing else is raised."""
    try:
        read_element(data, 0)
    except LayoutError:
        return


def test_a_header_that_does_not_fit_is_refused() -> None:
    """LayoutError, not an unreadable file."""
    with pytest.raises(LayoutError, match="does not fit"):
        header(300, Description(UID, START_WALL_NS, VIDEO, AUDIO))
