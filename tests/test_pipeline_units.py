"""Odd senders of video through the whole pipeline: marker bits anywhere, several slices, a screen at rest."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.events import EventType
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, RtpPacket
from rokuga.recorder.rtp.rtcp import KeyframeRequest, parse_rtcp
from tests import readers
from tests.clips_at_times import clip, of_type, speech
from tests.pipeline import Publisher, Simulation, simulating
from tests.recorder.codecs import clips, packetize

pytestmark = pytest.mark.system

SSRC = 77
FRAMES = 300
KEYS = tuple(range(0, FRAMES, 60))
MARKERS: dict[str, Callable[[int, bool], bool]] = {
    "each slice": lambda kind, is_end: is_end and kind in {1, 5},
    "each NAL unit": lambda _kind, is_end: is_end,
    "each packet": lambda _kind, _is_end: True,
    "nothing": lambda _kind, _is_end: False,
}
PACKETIZERS: dict[str, Callable[[bytes], list[bytes]]] = {
    "VP8": packetize.vp8,
    "VP9": packetize.vp9,
    "AV1": packetize.av1,
    "H264": lambda unit: packetize.h264(packetize.nal_units(unit)),
}


async def recorded(
    simulation: Simulation, codec_type: str, pictures: list[list[tuple[bytes, bool]]]
) -> tuple[Path, list[int]]:
    """Record payloads with their marker bits, a list for each picture, 30 a second; stop with the last packet.

    Gives the file and the time in ms of each block of video.
    """
    await simulation.start()
    sound = clip(speech(len(pictures) / 30))
    publisher = await simulation.publish(sound, negotiated=("audio", "video"), video_codec=codec_type)
    begin_ns = simulation.now_ns + 5 * NS_PER_MS
    sequence = 0
    for number, payloads in enumerate(pictures):
        for payload, marker in payloads:
            packet = RtpPacket(
                CODECS[codec_type].payload_type, marker, sequence & 0xFFFF, number * 3000, SSRC, payload, 0
            )
            simulation.receive(publisher, packet, begin_ns + number * NS_PER_S // 30)
            sequence += 1
    await simulation.run(begin_ns + (len(pictures) - 1) * NS_PER_S // 30)
    (event,) = of_type(await simulation.stop(), EventType.ARCHIVE_AVAILABLE)
    path = Path(event.document["file_path"])
    return path, [time_ms for _, time_ms, _ in readers.packets(path)["video"]]


@pytest.mark.parametrize("ended", MARKERS)
async def test_h264_of_four_slices_is_one_block_a_picture_wherever_the_marker_stands(
    tmp_path: Path, ended: str
) -> None:
    """https://github.com/pikvm/ustreamer/pull/119: one RTP time is one access unit."""
    units = clips.encoded_slices(4, FRAMES, KEYS)
    pictures = []
    for unit in units:
        picture = []
        for nal_unit in packetize.nal_units(unit):
            payloads = packetize.h264([nal_unit], aggregate=False)
            for place, payload in enumerate(payloads, 1):
                picture.append((payload, MARKERS[ended](nal_unit[0] & 31, place == len(payloads))))
        pictures.append(picture)
    async with simulating(tmp_path) as simulation:
        path, times_ms = await recorded(simulation, "H264", pictures)
    blocks = readers.packets(path)["video"]
    assert len(blocks) == FRAMES
    assert [place for place, (_, _, is_key) in enumerate(blocks) if is_key] == list(KEYS)
    assert all(sum(each[0] & 31 in {1, 5} for each in packetize.nal_units(data)) == 4 for data, _, _ in blocks)
    assert times_ms == pytest.approx([times_ms[0] + number * 1000 / 30 for number in range(FRAMES)], abs=2)
    assert readers.decode_strictly(path)["video"] == FRAMES


@pytest.mark.parametrize("codec_type", PACKETIZERS)
@pytest.mark.parametrize("has_markers", [True, False])
async def test_markers_on_every_packet_or_on_none_change_no_picture(
    tmp_path: Path, codec_type: str, has_markers: bool
) -> None:
    units = clips.encoded(codec_type)
    pictures = [[(payload, has_markers) for payload in PACKETIZERS[codec_type](unit)] for unit in units]
    async with simulating(tmp_path) as simulation:
        path, times_ms = await recorded(simulation, codec_type, pictures)
    assert times_ms == pytest.approx([times_ms[0] + number * 1000 / 30 for number in range(len(units))], abs=2)
    assert readers.decode_strictly(path)["video"] == len(units)


@pytest.mark.parametrize(
    ("codec_type", "width", "height"),
    [
        ("H264", 640, 360),
        ("H264", 1920, 1080),
        ("H264", 1366, 768),
        ("VP8", 1365, 767),
        ("VP9", 1365, 767),
        ("AV1", 1366, 766),
    ],
)
async def test_the_size_is_that_of_the_shown_picture(
    tmp_path: Path, codec_type: str, width: int, height: int
) -> None:
    """https://github.com/meetecho/janus-gateway/pull/1155: what is coded beyond the picture is cropped."""
    pictures = []
    for unit in clips.encoded(codec_type, width, height, 3, (0,)):
        payloads = PACKETIZERS[codec_type](unit)
        pictures.append([(payload, place == len(payloads)) for place, payload in enumerate(payloads, 1)])
    async with simulating(tmp_path) as simulation:
        path, _ = await recorded(simulation, codec_type, pictures)
    (stream,) = readers.probe(path, "-select_streams", "v", "-show_entries", "stream=width,height")["streams"]
    document = json.loads(path.with_suffix(".json").read_text())
    assert (document["video_width"], document["video_height"]) == (width, height)
    assert (stream["width"], stream["height"]) == (width, height)


def rest(simulation: Simulation, publisher: Publisher, *, has_markers: bool = True) -> None:
    """Let a screen be shown that never changes: one picture at first, and a key frame for each request."""
    payloads = packetize.vp8(clips.encoded("VP8")[0])
    sequence = 0

    def send(at_ns: int) -> None:
        nonlocal sequence
        for place, payload in enumerate(payloads, 1):
            timestamp = at_ns // 1000 * 90 // 1000 & 0xFFFFFFFF
            marker = has_markers and place == len(payloads)
            packet = RtpPacket(CODECS["VP8"].payload_type, marker, sequence, timestamp, SSRC, payload, 0)
            simulation.receive(publisher, packet, at_ns)
            sequence += 1

    def answer(data: bytes) -> None:
        if any(isinstance(message, KeyframeRequest) for message in parse_rtcp(data)):
            send(simulation.now_ns + 60 * NS_PER_MS)

    publisher.peer.send = answer
    send(simulation.now_ns + 5 * NS_PER_MS)


@pytest.mark.parametrize("has_markers", [True, False])
async def test_each_part_of_a_screen_at_rest_begins_with_its_picture(tmp_path: Path, has_markers: bool) -> None:
    """Nothing is sent for seconds before the recording begins, and between its boundaries."""
    async with simulating(tmp_path) as simulation:
        publisher = await simulation.publish(clip(speech(60)), negotiated=("audio", "video"), video_codec="VP8")
        rest(simulation, publisher, has_markers=has_markers)
        await simulation.run(simulation.now_ns + 20 * NS_PER_S)
        await simulation.start(split_duration=5, split_only=True)
        await simulation.run(simulation.now_ns + 22 * NS_PER_S)
        events = await simulation.stop()
    parts = [Path(event.document["file_path"]) for event in of_type(events, EventType.SPLIT_ARCHIVE_AVAILABLE)]
    assert len(parts) == 5
    for path in parts:
        stored = readers.packets(path)
        assert 1 <= len(stored["video"]) <= (1 if has_markers else 4), "without markers it is asked again meanwhile"
        assert all(is_key for _, _, is_key in stored["video"])
        assert stored["video"][0][1] < 1300
        assert readers.decode_strictly(path)["video"] == len(stored["video"])
