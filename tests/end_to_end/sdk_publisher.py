"""Publishes with the real sora_sdk: python sdk_publisher.py URL CHANNEL SECONDS [--codec C] [--no-audio|--no-video].

A program of its own, since the SDK's threads do not survive the end of an interpreter (it segfaults in teardown).
"""

import argparse
import json
import os
import re
import sys
import threading
import time

import numpy as np
from sora_sdk import Sora, SoraAudioSource, SoraVideoSource

FRAMES_PER_S = 30
WIDTH, HEIGHT = 640, 360


def main() -> int:
    """Publish; print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("channel")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--codec", default="VP9")
    parser.add_argument("--bit-rate", type=int, default=500)
    parser.add_argument("--no-audio", action="store_true")
    parser.add_argument("--no-video", action="store_true")
    options = parser.parse_args()

    sora = Sora()
    audio = None if options.no_audio else sora.create_audio_source(1, 48000)
    video = None if options.no_video else sora.create_video_source()
    asked: dict[str, object] = {}
    if audio is not None:
        asked |= {"audio_source": audio, "audio_codec_type": "OPUS"}
    if video is not None:
        asked |= {
            "video_source": video,
            "video_codec_type": options.codec,
            "video_bit_rate": options.bit_rate,
        }
    connection = sora.create_connection(
        signaling_urls=[options.url],
        role="sendonly",
        channel_id=options.channel,
        audio=audio is not None,
        video=video is not None,
        **asked,
    )
    state = {"connection_id": "", "disconnect": ""}
    connected, disconnected, stop = threading.Event(), threading.Event(), threading.Event()

    def on_offer(text: str) -> None:
        state["connection_id"] = json.loads(text)["connection_id"]

    def on_notify(text: str) -> None:
        message = json.loads(text)
        own = message.get("connection_id") == state["connection_id"]
        if message["event_type"] == "connection.created" and own:
            connected.set()

    def on_disconnect(code: object, message: str) -> None:
        state["disconnect"] = f"{code} {message}"
        disconnected.set()

    connection.on_set_offer = on_offer
    connection.on_notify = on_notify
    connection.on_disconnect = on_disconnect

    def speak(audio: SoraAudioSource) -> None:
        sample = 0
        due = time.monotonic()
        while not stop.is_set():
            times = np.arange(sample, sample + 480) / 48000
            audio.on_data((np.sin(2 * np.pi * 440 * times) * 8000).astype(np.int16).reshape(-1, 1))
            sample += 480
            due += 0.01
            time.sleep(max(0.0, due - time.monotonic()))

    def show(video: SoraVideoSource) -> None:
        number = 0
        due = time.monotonic()
        across = np.arange(WIDTH, dtype=np.int32)[None, :]
        down = np.arange(HEIGHT, dtype=np.int32)[:, None]
        while not stop.is_set():
            planes = [(across + number * 4 + 0 * down), (down + number * 2 + 0 * across), (across + down + number)]
            video.on_captured(np.stack([plane % 256 for plane in planes], -1).astype(np.uint8))
            number += 1
            due += 1 / FRAMES_PER_S
            time.sleep(max(0.0, due - time.monotonic()))

    sources = []
    if audio is not None:
        sources.append(threading.Thread(target=speak, args=(audio,), daemon=True))
    if video is not None:
        sources.append(threading.Thread(target=show, args=(video,), daemon=True))
    for source in sources:
        source.start()
    connection.connect()
    is_connected = connected.wait(10)
    statistics = []
    if is_connected:
        disconnected.wait(options.seconds)
        # libwebrtc writes infinities, which are no JSON.
        report = json.loads(re.sub(r":-?(nan|inf)", ":null", connection.get_stats()))
        statistics = [entry for entry in report if entry["type"] == "outbound-rtp"]
    stop.set()
    for source in sources:
        source.join()  # the SDK crashes if a source is fed while its connection ends
    if not disconnected.is_set():
        connection.disconnect()
        disconnected.wait(10)
    print(json.dumps({**state, "connected": is_connected, "statistics": statistics}))
    sys.stdout.flush()
    return 0 if is_connected else 1


if __name__ == "__main__":
    os._exit(main())
