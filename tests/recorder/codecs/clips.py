"""Real encoded video, made by PyAV's encoders once a run: the truth that depacketizers are measured by."""

import os
from fractions import Fraction
from functools import cache
from itertools import pairwise

import av
import numpy as np
from av.video.frame import PictureType

os.environ.setdefault("SVT_LOG", "1")  # errors only
_ENCODERS = {
    "VP8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}),
    "AV1": ("libsvtav1", {"preset": "10", "crf": "45", "svtav1-params": "pred-struct=1"}),
    "H264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "repeat-headers=1"}),
}
DECODERS = {"VP8": "vp8", "VP9": "vp9", "AV1": "libdav1d", "H264": "h264"}


@cache
def encoded(
    name: str, width: int = 320, height: int = 180, count: int = 24, keys: tuple[int, ...] = (0, 12)
) -> tuple[bytes, ...]:
    """Return `count` units of a moving, noisy picture; those of `keys` are key frames."""
    encoder, options = _ENCODERS[name]
    codec = av.CodecContext.create(encoder, "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.framerate = Fraction(30)
    if "crf" not in options:
        codec.bit_rate = 1_000_000
    codec.gop_size = 1000
    codec.thread_count = 1  # libvpx's threads wait for each other in a loop: on a busy machine for ever
    codec.options = options
    noise = np.random.default_rng(7).integers(0, 255, (height, width + 8 * count, 3), dtype=np.uint8)
    units: list[bytes] = []
    for i in range(count):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, 8 * i : 8 * i + width]), format="rgb24")
        frame.pts = i
        frame.pict_type = PictureType.I if i in keys else PictureType.NONE
        units += [bytes(packet) for packet in codec.encode(frame)]
    units += [bytes(packet) for packet in codec.encode(None)]
    # SVT-AV1, run as root, makes its caller a real-time thread; a browser that inherits this starves the machine.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return tuple(units)


@cache
def encoded_slices(
    slices: int, count: int = 24, keys: tuple[int, ...] = (0, 12), set_id: int = 0
) -> tuple[bytes, ...]:
    """Return H.264 units like those of `encoded`, each picture of so many slices, without B frames.

    Their parameter sets have the id `set_id`.
    """
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = 320, 180, "yuv420p"
    codec.framerate = Fraction(30)
    codec.gop_size = 1000
    codec.thread_count = 1
    codec.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"repeat-headers=1:sliced-threads=0:slices={slices}:sps-id={set_id}",
    }
    noise = np.random.default_rng(7).integers(0, 255, (180, 320 + 8 * count, 3), dtype=np.uint8)
    units: list[bytes] = []
    for i in range(count):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, 8 * i : 8 * i + 320]), format="rgb24")
        frame.pts = i
        frame.pict_type = PictureType.I if i in keys else PictureType.NONE
        units += [bytes(packet) for packet in codec.encode(frame)]
    return (*units, *(bytes(packet) for packet in codec.encode(None)))


def decoded(name: str, units: list[bytes], decoder: str = "") -> list[av.VideoFrame]:
    """Decode units strictly, return all frames shown. Raises av.FFmpegError for any fault."""
    codec = av.CodecContext.create(decoder or DECODERS[name], "r")
    assert isinstance(codec, av.VideoCodecContext)
    codec.options = {"err_detect": "explode"}
    codec.thread_count = 1
    frames = []
    for i, unit in enumerate(units):
        packet = av.Packet(unit)
        packet.pts = packet.dts = i
        frames += codec.decode(packet)
    return frames + codec.decode(None)


def differs(frames: list[av.VideoFrame]) -> bool:
    """Return whether each picture differs from the one before it."""
    return all(not np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in pairwise(frames))
