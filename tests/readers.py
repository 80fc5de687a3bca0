"""Readers of recorded files: PyAV in this process; ffmpeg, ffprobe, mkvmerge and Hisui as commands."""

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

HISUI_NOTES = ("no video track", "OpenH264 version mismatch")
"""Messages of Hisui about every file without video, whoever wrote it, and about Debian's OpenH264."""

Packets = dict[Kind, list[tuple[bytes, int, bool]]]
"""Payload, time in ms and key flag of each packet, by kind."""


def packets(path: Path) -> Packets:
    """Return the packets of a file."""
    found: Packets = {"audio": [], "video": []}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.time_base is not None:
                kind: Kind = "audio" if packet.stream.type == "audio" else "video"
                found[kind].append((bytes(packet), round(packet.pts * packet.time_base * 1000), packet.is_keyframe))
    return found


def payloads(path: Path, kind: Kind) -> list[bytes]:
    """Return the payloads of one kind."""
    return [data for data, _, _ in packets(path)[kind]]


def decode_strictly(path: Path) -> dict[str, int]:
    """Decode a file with ffmpeg, which must not print anything; return the number of frames of each kind."""
    # The time base of the input: frames may be closer together than the frame rate that ffmpeg guesses.
    times = ["-fps_mode", "passthrough", "-enc_time_base", "-1"]
    probing = ["-analyzeduration", "60M", "-probesize", "50M"]  # video may start late
    command = ["ffmpeg", "-v", "warning", "-xerror", *probing, "-i", str(path), *times, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return count_frames(path)


def count_frames(path: Path) -> dict[str, int]:
    """Decode a file, and return the number of frames of each kind."""
    with av.open(str(path)) as container:
        counts: dict[str, int] = {stream.type: 0 for stream in container.streams}
        for packet in container.demux():
            counts[packet.stream.type] += len(packet.decode())
    return counts


def probe(path: Path, *options: str) -> Any:
    """Return what ffprobe prints as JSON."""
    command = ["ffprobe", "-v", "error", *options, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def duration_s(path: Path) -> float:
    """Return the duration in the header of a file."""
    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / av.time_base


def identify(path: Path) -> Any:
    """Return the tracks and properties that mkvmerge reports, without errors or warnings."""
    done = subprocess.run(["mkvmerge", "-J", str(path)], capture_output=True, check=True)
    seen = json.loads(done.stdout)
    assert not seen["errors"]
    assert not seen["warnings"]
    return seen


def inspect_with_hisui(path: Path) -> Any:
    """Decode a file with Hisui, without warnings; return its report."""
    return _run_hisui("inspect", "--decode", str(path))


def compose_with_hisui(folder: Path, output: Path) -> Any:
    """Compose all archives of a recording with Hisui, without warnings; return its report."""
    return _run_hisui("compose", "-P", "-o", str(output), str(folder))


def _run_hisui(*arguments: str) -> Any:
    """Run Hisui, with OpenH264; it may fail with exit code 0, so that its messages are checked."""
    environment = os.environ | {"HISUI_OPENH264_PATH": find_library("openh264") or "libopenh264.so is not installed"}
    done = subprocess.run([str(HISUI), *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    messages = [line for line in done.stderr.splitlines() if not any(noted in line for noted in HISUI_NOTES)]
    assert not messages, messages
    return json.loads(done.stdout)
