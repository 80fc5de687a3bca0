"""Clips: the samples match their README, and files that cannot be published are refused with a reason."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from rokuga.devtools.publisher.clip import ClipError, ClipTrack, read_clip
from rokuga.recorder.media import NS_PER_MS, Kind
from tests import readers

CLIPS = Path(__file__).parent.parent.parent.parent / "media-samples"
MAX_BYTES = 300_000


def keyframes_ms(track: ClipTrack) -> list[int]:
    begin_ns = track.units[0].time_ns
    return [(unit.time_ns - begin_ns) // NS_PER_MS for unit in track.units if unit.is_keyframe]


@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        ("vp9-opus.webm", ("VP9", 150, 7), 251),
        ("vp8-opus.webm", ("VP8", 90, 2), 151),
        ("vp9.webm", ("VP9", 90, 4), None),
        ("opus.webm", None, 151),
    ],
)
def test_the_samples_match_their_readme(name: str, video: tuple[str, int, int] | None, audio: int | None) -> None:
    """Codecs, numbers of pictures, key frames and Opus packets; every picture is shown."""
    clip = read_clip(CLIPS / name)
    assert clip.tracks.keys() == {kind for kind, has in (("video", video), ("audio", audio)) if has}
    if video is not None:
        track = clip.tracks["video"]
        assert (track.codec_type, len(track.units), len(keyframes_ms(track))) == video
        assert (track.width, track.height) == (640, 360)
        assert set(range(0, len(track.units) * 33, 2000)) <= set(keyframes_ms(track))
        assert readers.count_frames(CLIPS / name)["video"] == len(track.units)
    if audio is not None:
        assert clip.tracks["audio"].codec_type == "OPUS"
        assert len(clip.tracks["audio"].units) == audio
    assert (CLIPS / name).stat().st_size < MAX_BYTES
    row = next(line for line in (CLIPS / "README.md").read_text().splitlines() if f"`{name}`" in line)
    for number in (*(video or ())[1:], audio):
        assert number is None or str(number) in row


@pytest.mark.parametrize("name", ["vp9-opus.webm", "vp8-opus.webm", "vp9.webm", "opus.webm"])
def test_units_are_the_files_packets(name: str) -> None:
    """Payloads byte for byte, times from 0 on, in order."""
    clip = read_clip(CLIPS / name)
    stored = readers.packets(CLIPS / name)
    for kind, track in clip.tracks.items():
        assert [unit.data for unit in track.units] == [data for data, _, _ in stored[kind]]
        assert [unit.is_keyframe for unit in track.units] == [is_keyframe for _, _, is_keyframe in stored[kind]]
        times = [unit.time_ns for unit in track.units]
        assert times == sorted(set(times))
    assert min(track.units[0].time_ns for track in clip.tracks.values()) == 0


def test_opus_times_are_without_the_rounding_of_webm() -> None:
    """WebM has 0, 21, 41 ms; an encoder would have sent at 0, 20, 40 ms."""
    units = read_clip(CLIPS / "opus.webm").tracks["audio"].units
    assert [unit.time_ns for unit in units] == [place * 20 * NS_PER_MS for place in range(len(units))]


def test_a_pause_in_the_audio_is_kept(tmp_path: Path) -> None:
    """Time continues where the file has no audio packets."""
    rewrite(CLIPS / "opus.webm", tmp_path / "paused.webm", lambda number: number < 10 or number >= 20)
    units = read_clip(tmp_path / "paused.webm").tracks["audio"].units
    assert units[9].time_ns == 180 * NS_PER_MS
    assert units[10].time_ns == pytest.approx(400 * NS_PER_MS, abs=NS_PER_MS)
    assert units[11].time_ns - units[10].time_ns == 20 * NS_PER_MS


def test_kinds_can_be_left_out() -> None:
    assert read_clip(CLIPS / "vp9-opus.webm", ["video"]).tracks.keys() == {"video"}
    assert read_clip(CLIPS / "vp9-opus.webm", ["audio"]).tracks.keys() == {"audio"}


def test_the_clip_lasts_to_the_end_of_its_last_unit() -> None:
    assert read_clip(CLIPS / "opus.webm").duration_ns == 151 * 20 * NS_PER_MS


def rewrite(source: Path, target: Path, keeps: Callable[[int], bool]) -> None:
    """Copy the packets of a file for which `keeps(number)` is true."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        streams = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
        packets = [packet for packet in read.demux() if packet.size]
        for number, packet in enumerate(packets):
            if keeps(number):
                packet.stream = streams[packet.stream_index]
                written.mux(packet)


def h264(path: Path) -> Path:
    """Return a file of a codec that cannot be published."""
    with av.open(str(path), "w", format="matroska") as written:
        stream = written.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for packet in [*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode(None)]:
            written.mux(packet)
    return path


@pytest.mark.parametrize(
    ("make", "kinds", "reason"),
    [
        (lambda folder: folder / "missing.webm", ["audio", "video"], "No such file"),
        (lambda folder: folder, ["audio", "video"], "directory"),
        (lambda _: CLIPS / "README.md", ["audio", "video"], "Invalid data"),
        (lambda _: CLIPS / "opus.webm", ["video"], "no video to publish"),
        (lambda _: CLIPS / "vp9.webm", ["audio"], "no audio to publish"),
        (lambda _: CLIPS / "vp9.webm", [], "to publish"),
        (
            lambda folder: h264(folder / "h264.mkv"),
            ["audio", "video"],
            "h264 cannot be published, only vp9, vp8, opus",
        ),
    ],
)
def test_a_file_that_cannot_be_published_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], kinds: list[Kind], reason: str
) -> None:
    """Each with its reason and the file's name."""
    path = make(tmp_path)
    with pytest.raises(ClipError, match=reason) as raised:
        read_clip(path, kinds)
    assert str(path) in str(raised.value)


def test_video_that_does_not_begin_with_a_key_frame_is_refused(tmp_path: Path) -> None:
    """It could not be decoded."""
    rewrite(CLIPS / "vp9.webm", tmp_path / "cut.webm", lambda number: number > 0)
    with pytest.raises(ClipError, match="does not begin with a key frame"):
        read_clip(tmp_path / "cut.webm")


def test_a_truncated_file_is_published_up_to_its_end(tmp_path: Path) -> None:
    whole = (CLIPS / "vp9.webm").read_bytes()
    (tmp_path / "cut.webm").write_bytes(whole[: len(whole) // 2])
    units = read_clip(tmp_path / "cut.webm").tracks["video"].units
    assert 10 < len(units) < 90
