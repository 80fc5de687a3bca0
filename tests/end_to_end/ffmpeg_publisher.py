"""Publishes by WHIP with the FFmpeg inside PyAV: python ffmpeg_publisher.py URL SECONDS [--passive] [--token T].

H.264 and Opus, the only codecs of its muxer. A program of its own, since the muxer blocks while it connects.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction

import av
import numpy as np

FRAMES_PER_S = 30
WIDTH, HEIGHT = 320, 240
SAMPLES = 960
CERTIFICATE = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def picture(number: int) -> av.VideoFrame:
    """Give a bar that moves."""
    pixels = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    pixels[:HEIGHT, (number * 8) % WIDTH :][:, :16] = 235
    frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_S)
    return frame


def sound(number: int) -> av.AudioFrame:
    """Give 20 ms of a tone, in two channels."""
    at = np.arange(number * SAMPLES, (number + 1) * SAMPLES) / 48_000
    tone = np.repeat((np.sin(2 * np.pi * 440 * at) * 8000).astype(np.int16), 2)
    frame = av.AudioFrame.from_ndarray(tone[None, :], format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, number * SAMPLES, Fraction(1, 48_000)
    return frame


def publish(options: argparse.Namespace, folder: str) -> dict[str, int]:
    """Publish; count what was sent."""
    # FFmpeg with GnuTLS makes a certificate on secp224r1, which OpenSSL refuses.
    key, certificate = f"{folder}/dtls.key", f"{folder}/dtls.crt"
    subprocess.run(
        [*CERTIFICATE, "-subj", "/CN=test", "-keyout", key, "-out", certificate],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    settings = {"cert_file": certificate, "key_file": key, "handshake_timeout": "10000"}
    settings |= {} if options.passive else {"whip_flags": "dtls_active"}
    settings |= {"authorization": options.token} if options.token else {}
    sent = {"video": 0, "audio": 0}
    with av.open(options.url, "w", format="whip", options=settings) as output:
        encoding = {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency", "bf": "0", "threads": "1"}
        video = output.add_stream("libx264", rate=FRAMES_PER_S, options=encoding)
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, "yuv420p", 300_000
        audio = output.add_stream("libopus", rate=48_000)
        audio.layout, audio.bit_rate = "stereo", 64_000
        output.start_encoding()  # connects
        begin = time.monotonic()
        for number in range(int(options.seconds * FRAMES_PER_S)):
            for packet in video.encode(picture(number)):
                output.mux(packet)
                sent["video"] += 1
            while sent["audio"] * FRAMES_PER_S < (number + 1) * 50:
                for packet in audio.encode(sound(sent["audio"])):
                    output.mux(packet)
                sent["audio"] += 1
            time.sleep(max(0.0, begin + number / FRAMES_PER_S - time.monotonic()))
    return sent


def main() -> int:
    """Publish; print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--passive", action="store_true", help="be the server of DTLS, which is FFmpeg's default")
    parser.add_argument("--token", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(publish(options, folder)))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # nothing of the encoders' threads is to be waited for
