"""What reads our files: PyAV, ffmpeg, ffprobe, mkvmerge and Hisui, each as a person would call it."""

import json
import os
import subprocess
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import av

from rokuga.recorder.media import Kind

ROOT = Path(__file__).parent.parent
HISUI = ROOT / ".tools" / "hisui"

NOTED = ("no video track", "OpenH264 version mismatch")
"""What Hisui notes of every file without video, whoever wrote it, and of Debian's OpenH264."""

Packets = dict[Kind, list[tuple[bytes, int, bool]]]
"""Payload, time in ms and key flag of each packet, by kind."""


def packets(path: Path) -> Packets:
    """Read a file's packets back with PyAV."""
    found: Packets = {"audio": [], "video": []}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.time_base is not None:
                kind: Kind = "audio" if packet.stream.type == "audio" else "video"
                found[kind].append((bytes(packet), round(packet.pts * packet.time_base * 1000), packet.is_keyframe))
    return found


def payloads(path: Path, kind: Kind) -> list[bytes]:
    """Give the payloads of one kind."""
    return [data for data, _, _ in packets(path)[kind]]


def decode_strictly(path: Path) -> dict[str, int]:
    """Decode the whole file with ffmpeg, which must not find a fault; give how many frames of each kind it showed."""
    # The time base of the input, since frames may be closer together than the rate that ffmpeg guesses.
    times = ["-fps_mode", "passthrough", "-enc_time_base", "-1"]
    patience = ["-analyzeduration", "60M", "-probesize", "50M"]  # the camera may come on late
    command = ["ffmpeg", "-v", "warning", "-xerror", *patience, "-i", str(path), *times, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return count_frames(path)


def count_frames(path: Path) -> dict[str, int]:
    """Decode with ffprobe and count the frames of each kind."""
    shown = probe(path, "-count_frames", "-show_entries", "stream=codec_type,nb_read_frames")
    return {stream["codec_type"]: int(stream["nb_read_frames"]) for stream in shown["streams"]}


def probe(path: Path, *options: str) -> Any:
    """Ask ffprobe."""
    command = ["ffprobe", "-v", "error", *options, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def duration_s(path: Path) -> float:
    """Give the duration that the file's header tells."""
    return float(probe(path, "-show_entries", "format=duration")["format"]["duration"])


def identify(path: Path) -> Any:
    """Ask mkvmerge what it sees; it must not warn."""
    done = subprocess.run(["mkvmerge", "-J", str(path)], capture_output=True, check=True)
    seen = json.loads(done.stdout)
    assert not seen["errors"]
    assert not seen["warnings"]
    return seen


def inspect_with_hisui(path: Path) -> Any:
    """Have Hisui read and decode a file; it must not complain."""
    return _ask_hisui("inspect", "--decode", str(path))


def compose_with_hisui(folder: Path, output: Path) -> Any:
    """Have Hisui compose all archives of a recording; it must not complain."""
    return _ask_hisui("compose", "-P", "-o", str(output), str(folder))


def _ask_hisui(*arguments: str) -> Any:
    """Run Hisui, with Cisco's decoder for H.264; it may fail and exit with 0."""
    environment = os.environ | {"HISUI_OPENH264_PATH": find_library("openh264") or "libopenh264.so is not installed"}
    done = subprocess.run([str(HISUI), *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if not any(noted in line for noted in NOTED)]
    assert not complaints, complaints
    return json.loads(done.stdout)
