"""Files of each codec and each set of kinds, written by the real archiver from encoded media."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import av
import numpy as np

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, Kind
from tests.recorder.codecs.clips import encoded
from tests.support.recorder import Unit, running_recorder

VIDEO_CODECS: Final = tuple(name for name, codec in CODECS.items() if codec.kind == "video")
TEMPORAL_DELIMITER: Final = b"\x12\x00"
"""An OBU that is neither sent nor stored (AV1 RTP payload specification, section 5)."""
DURATION_MS: Final = 1000
FRAME_MS: Final = 40
KEYFRAMES: Final = (0, 12)


@cache
def sound(channels: int = 2) -> tuple[bytes, ...]:
    """Encode a second of a tone, in packets of 20 ms."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.format, codec.layout = (
        48_000,
        av.AudioFormat("flt"),
        "stereo" if channels == 2 else "mono",
    )
    packets: list[bytes] = []
    for i in range(DURATION_MS // 20):
        tone = np.sin(np.arange(i * 960, (i + 1) * 960) / 20).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, channels)[None, :], format="flt", layout=codec.layout.name)
        frame.sample_rate, frame.pts = 48_000, i * 960
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return tuple(packets)


def pictures(name: str, width: int = 320, height: int = 180) -> list[bytes]:
    """Return a second of pictures, as from a depacketizer; those of KEYFRAMES are key frames."""
    units = encoded(name, width, height, DURATION_MS // FRAME_MS, KEYFRAMES)
    return [unit.removeprefix(TEMPORAL_DELIMITER) for unit in units]


@dataclass
class RecordedFile:
    """The file of a recording, and what was sent by kind: payload, time in ms, key flag."""

    path: Path
    document: Mapping[str, object]
    units: dict[Kind, list[tuple[bytes, int, bool]]] = field(default_factory=lambda: {"audio": [], "video": []})


async def record(
    folder: Path,
    units: Sequence[Unit],
    *,
    audio: str | None = "OPUS",
    video: str | None = None,
    sizes: Mapping[int, tuple[int, int]] | None = None,
    opus_params: Mapping[str, object] | None = None,
) -> RecordedFile:
    """Record these units, each at its time, in one whole file. `sizes` are picture sizes by time in ms."""
    async with running_recorder(folder) as harness:
        await harness.start()
        client = await harness.connect(audio=audio, video=video, opus_params=opus_params)
        begin_ns = harness.clock.now_ns
        for kind, time_ms, data, is_keyframe in sorted(units, key=lambda unit: unit[1]):
            harness.clock.now_ns = begin_ns + time_ms * NS_PER_MS
            client.size = (sizes or {}).get(time_ms, client.size)
            client.send(kind, time_ms, data, is_keyframe)
            await client.tick()
            if time_ms % 1000 == 0:
                await harness.drain()
        await harness.stop()
        (available,) = await harness.events("archive.available")
        sent = RecordedFile(Path(available.document["file_path"]), available.document)
        for kind, time_ms, data, is_keyframe in client.sent:
            sent.units[kind].append((data, time_ms, is_keyframe))
        return sent


def video_units(name: str, begin_ms: int = 0, width: int = 320, height: int = 180) -> list[Unit]:
    """Return a second of pictures from a time on."""
    return [
        ("video", begin_ms + i * FRAME_MS, data, i in KEYFRAMES)
        for i, data in enumerate(pictures(name, width, height))
    ]


def audio_units(begin_ms: int = 0, channels: int = 2) -> list[Unit]:
    """Return a second of audio from a time on."""
    return [("audio", begin_ms + i * 20, data, True) for i, data in enumerate(sound(channels))]
