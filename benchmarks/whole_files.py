"""Whether what was recorded of the load generator is whole: every unit that was sent is there, byte for byte.

The generator sends its clip in a loop, each picture after the one before, and goes on at a key frame where one is
asked for.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rokuga.devtools.soak.webm import WebmError, read_webm

IVF_HEADER_PLACE: Final = slice(6, 8)
END_MS: Final = 250
"""How much of the end may still have been under way: packets of Opus last 20 ms, pictures 33."""
PLACED_MS: Final = 20
"""How much later than it came a unit may be placed, since its time is that of its sender."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What is sent: pictures, those of them that are key frames are known by what is stored; packets of sound."""

    pictures: Sequence[bytes]
    sounds: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Found:
    """The contents of a folder of archives. `faults` has one line per fault."""

    archives: int
    units: int
    lost_packets: int
    faults: Sequence[str]


def read_clip(video: Path, audio: Path) -> Clip:
    """Read the generator's IVF and Ogg files (RFC 3533)."""
    return Clip(list(_ivf(video.read_bytes())), list(_ogg(audio.read_bytes()))[2:])


def look(folder: Path, clip: Clip) -> Found:
    """Check every archive of a channel under a folder."""
    documents = [json.loads(path.read_text()) for path in sorted(folder.rglob("archive-*.json"))]
    units, faults = 0, []
    for document in documents:
        count, fault = _look_at(document, clip)
        units += count
        if fault:
            faults.append(f"{document['filename']}: {fault}")
    faults += [f"{path.name}: without its document" for path in _lonely(folder)]
    lost = sum(d["stats"][kind]["lost_packets"] for d in documents for kind in ("audio", "video"))
    return Found(len(documents), units, lost, faults)


def _lonely(folder: Path) -> Iterable[Path]:
    """Return media files and files in progress that have no document."""
    return (
        path
        for path in folder.rglob("*archive-*")
        if path.suffix != ".json" and not path.with_suffix(".json").exists()
    )


def _look_at(document: dict[str, Any], clip: Clip) -> tuple[int, str]:
    """Return the number of units of a file, and its fault, "" if there is none."""
    data = Path(document["file_path"]).read_bytes()
    if len(data) != document["size"]:
        return 0, "its size is not the document's"
    try:
        file = read_webm(data)
    except WebmError as error:
        return 0, str(error)
    counts = {kind: len(blocks) for kind, blocks in file.blocks.items()}
    units = sum(counts.values())
    if set(counts) != {"audio", "video"}:
        return units, f"it has only {counts}"
    lasts_ms = _lasts_ms(document)
    ends_ms = max(blocks[-1].time_ms for blocks in file.blocks.values())
    if not lasts_ms - END_MS < ends_ms < lasts_ms + PLACED_MS:
        return units, f"its last unit is of {ends_ms} ms, and the archive lasts {lasts_ms} ms"
    if abs(file.duration_ms - ends_ms) > END_MS:
        return units, f"its duration is told as {file.duration_ms} ms"
    pictures = [(block.data, block.is_keyframe) for block in file.blocks["video"]]
    sounds = [(block.data, False) for block in file.blocks["audio"]]
    return units, _break_in(pictures, clip.pictures, "picture") or _break_in(sounds, clip.sounds, "sound")


def _break_in(stored: Sequence[tuple[bytes, bool]], sent: Sequence[bytes], what: str) -> str:
    """Return where a stored unit does not follow the previous one; a gap may end at a key frame."""
    place = sent.index(stored[0][0]) if stored[0][0] in sent else len(sent)
    for number, (data, is_keyframe) in enumerate(stored):
        if place < len(sent) and data != sent[place] and is_keyframe and data in sent:
            place = sent.index(data)
        if place == len(sent) or data != sent[place]:
            return f"{what} {number} is not the one that follows"
        place = (place + 1) % len(sent)
    return ""


def _lasts_ms(document: dict[str, Any]) -> float:
    begin, end = (datetime.fromisoformat(document[f"{name}_timestamp"]) for name in ("start", "stop"))
    return (end - begin).total_seconds() * 1000


def _ivf(data: bytes) -> Iterable[bytes]:
    place = int.from_bytes(data[IVF_HEADER_PLACE], "little")
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        yield data[place + 12 : place + 12 + size]
        place += 12 + size


def _ogg(data: bytes) -> Iterable[bytes]:
    """Return the packets of one logical stream; a segment of 255 bytes continues in the next (RFC 3533 section 5)."""
    place, packet = 0, b""
    while place < len(data):
        sizes = data[place + 27 : place + 27 + data[place + 26]]
        place += 27 + len(sizes)
        for size in sizes:
            packet += data[place : place + size]
            place += size
            if size < 255:
                yield packet
                packet = b""
