"""The load that is measured: VP9 of 1 Mbit/s at 640x480 with Opus, about 170 packets a second.

It is the load that the figures of other recorders were measured with, so that they can be compared.
"""

from pathlib import Path
from typing import Final

import av
from av.audio.stream import AudioStream
from av.video.frame import PictureType
from av.video.stream import VideoStream

SECONDS: Final = 10
PICTURES: Final = f"testsrc2=size=640x480:rate=30:duration={SECONDS},noise=alls=12:allf=t,format=yuv420p"
SOUND: Final = f"sine=frequency=440:sample_rate=48000:samples_per_frame=960:duration={SECONDS}"
VP9: Final = {
    "deadline": "realtime",
    "cpu-used": "8",
    "minrate": "1M",
    "maxrate": "1M",
    "bufsize": "500k",
    "error-resilient": "1",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
}
OPUS: Final = {"application": "voip", "frame_duration": "20"}


def make_clip(path: Path) -> None:
    """Encode the clip into a WebM file; takes some seconds."""
    with (
        av.open(PICTURES, format="lavfi") as pictures,
        av.open(SOUND, format="lavfi") as sound,
        av.open(str(path), "w") as out,
    ):
        video = out.add_stream("libvpx-vp9", rate=30, options=VP9)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt, video.bit_rate, video.gop_size = 640, 480, "yuv420p", 1_000_000, 300
        audio = out.add_stream("libopus", rate=48_000, options=OPUS)
        assert isinstance(audio, AudioStream)
        audio.bit_rate = 32_000
        for picture in pictures.decode(video=0):
            picture.pict_type = PictureType.NONE  # a source has key frames alone
            out.mux(video.encode(picture))
        for piece in sound.decode(audio=0):
            out.mux(audio.encode(piece))
        out.mux(video.encode())
        out.mux(audio.encode())
