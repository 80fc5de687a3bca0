"""Checks of one finished file, and of the parts of an archive together; the results are faults as text. Pure.

Every stored unit is matched with the one that was sent, so that order, gaps, repeats and sync are exact.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from rokuga.devtools.soak.frame_ids import SentMedia, SentTrack
from rokuga.devtools.soak.webm import WebmFile
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind

MAX_SYNC_MS: Final = 40.0
MAX_START_SYNC_MS: Final = 400.0
"""In its first seconds a publisher's kinds are aligned by the arrival of their first packets alone."""
SYNC_START_NS: Final = 3 * NS_PER_S
"""Two sender reports, 1 s apart, of which one may be lost, and the time for which a correction is spread."""
MAX_SHIFT_MS: Final = 500.0
"""Largest distance of a track from its sending: the first packet sets the zero, and may be late on a busy machine."""
EDGE_NS: Final = 400 * NS_PER_MS
"""Without loss a file begins and ends so near to its archive: a PLI and the key frame after it."""
LOSSY_EDGE_NS: Final = 2_600 * NS_PER_MS
"""With loss PLIs are lost, too, and at the end no repair is waited for."""
CRASH_NS: Final = NS_PER_S
"""What may be missing after a kill."""
BOUNDARY_NS: Final = 700 * NS_PER_MS
"""Largest distance of the beginning of a part from a multiple of the split duration."""
DURATION_MS: Final = 60.0

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file: by kind the numbers of its `first` and `last` unit and the count of those `missing` in between."""

    begin_wall_ns: int
    stop_wall_ns: int
    index: int
    first: Mapping[Kind, int]
    last: Mapping[Kind, int]
    missing: Mapping[Kind, int]
    sync_ms: float
    start_sync_ms: float
    faults: Sequence[str]


@dataclass(slots=True)
class _MatchedTrack:
    """One kind of a file: for each block the number of the sent unit, and the block's time minus its sending time."""

    numbers: list[int] = field(default_factory=list)
    shifts_ms: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_file(
    file: WebmFile, document: Document, sent: SentMedia, *, loss: float, killed_wall_ns: int | None = None
) -> CheckedFile:
    """Check one file. `killed_wall_ns` is when the daemon was killed, for a file that its recovery finished."""
    begin_wall_ns = from_rfc3339(document["start_timestamp"])
    stop_wall_ns = from_rfc3339(document["stop_timestamp"])
    matched = {kind: _match(kind, file, sent, begin_wall_ns) for kind in file.blocks}
    missing = {kind: _missing(each.numbers) for kind, each in matched.items()}
    is_part = "split_index" in document
    index = int(document.get("split_index", 0))
    settled_ms = (sent.begin_wall_ns + SYNC_START_NS - begin_wall_ns) // NS_PER_MS
    start_sync_ms, sync_ms, sync_faults = _sync(file, matched, settled_ms)
    faults = [fault for each in matched.values() for fault in each.faults]
    faults += _cue_faults(file)
    faults += _duration_faults(file, document, recovered=killed_wall_ns is not None)
    faults += sync_faults
    for kind, each in matched.items():
        if each.shifts_ms and max(map(abs, each.shifts_ms)) > MAX_SHIFT_MS:
            worst = max(each.shifts_ms, key=abs)
            faults.append(f"{kind} stands {worst:.0f} ms from when it was sent")
        faults += _gap_faults(kind, missing[kind], document, loss)
    edge_ns = LOSSY_EDGE_NS if loss else EDGE_NS
    end_wall_ns = stop_wall_ns if killed_wall_ns is None else killed_wall_ns - CRASH_NS
    if not is_part or index == 1:
        faults += _head_faults(sent, matched, begin_wall_ns, end_wall_ns, edge_ns)
    if not is_part:
        faults += tail_faults(sent, _last(matched), end_wall_ns, edge_ns if killed_wall_ns is None else 0)
    return CheckedFile(
        begin_wall_ns, stop_wall_ns, index, _first(matched), _last(matched), missing, sync_ms, start_sync_ms, faults
    )


def check_parts(
    parts: Sequence[CheckedFile],
    whole: CheckedFile | None,
    sent: SentMedia,
    archive_wall_ns: int,
    split_s: int,
    *,
    loss: float,
    explained: Mapping[Kind, int] | None,
) -> Iterator[str]:
    """Check the parts of an archive together, and against its whole file. `explained` are units known to be lost."""
    yield from _order_faults(parts, archive_wall_ns, split_s, loss)
    for kind, track in sent.tracks.items():
        with_kind = [part for part in parts if kind in part.first]
        for before, after in pairwise(with_kind):
            step = after.first[kind] - before.last[kind]
            if step < 1:
                yield f"parts {before.index} and {after.index} overlap by {1 - step} units of {kind}"
            elif step > 1 and explained is not None and step - 1 > explained.get(kind, 0):
                yield f"{step - 1} units of {kind} are missing between parts {before.index} and {after.index}"
        if whole is not None and with_kind and kind in whole.first:
            if with_kind[0].first[kind] != whole.first[kind]:
                yield f"the parts begin with another unit of {kind} than the whole file"
            if with_kind[-1].last[kind] != whole.last[kind] and explained is not None:
                yield f"the parts end with another unit of {kind} than the whole file"
        for part in with_kind:
            if part.last[kind] >= len(track.places):
                yield f"part {part.index} has {kind} that was not sent"


def _order_faults(parts: Sequence[CheckedFile], archive_wall_ns: int, split_s: int, loss: float) -> Iterator[str]:
    """Return the parts that do not begin at a boundary, or not where the previous one ended."""
    if [part.index for part in parts] != list(range(1, len(parts) + 1)):
        yield f"the parts are numbered {[part.index for part in parts]}"
    cut_ns = LOSSY_EDGE_NS if loss else BOUNDARY_NS
    for before, after in pairwise(parts):
        if abs(after.begin_wall_ns - before.stop_wall_ns) > NS_PER_MS:
            off_ms = (after.begin_wall_ns - before.stop_wall_ns) / 1e6
            yield f"part {after.index} begins {off_ms:.1f} ms after the end of the one before"
        off_ns = (after.begin_wall_ns - archive_wall_ns) % (split_s * NS_PER_S)
        if min(off_ns, split_s * NS_PER_S - off_ns) > cut_ns:
            yield f"part {after.index} begins {off_ns / 1e9:.2f} s after a boundary"


def tail_faults(sent: SentMedia, last: Mapping[Kind, int], end_wall_ns: int, edge_ns: int) -> Iterator[str]:
    """Return the kinds that end more than `edge_ns` before `end_wall_ns`, where the file should end."""
    for kind, track in sent.tracks.items():
        until_ns = end_wall_ns - edge_ns - sent.begin_wall_ns
        due = _count_before(track, until_ns)
        if kind in last and last[kind] + 1 < due:
            lack_ms = (track.times_ns[due - 1] - track.times_ns[last[kind]]) / 1e6
            yield f"{kind} ends {lack_ms:.0f} ms too early"


def lost_units(document: Document, kind: Kind) -> int | None:
    """Return how many units of a kind may be missing by the recorder's counters; None if a crash lost those."""
    stats = document["stats"]
    if stats.get("is_recovered"):
        return None
    counters = stats.get(kind, {})
    return sum(int(counters.get(name, 0)) for name in ("lost_packets", "dropped_units", "undecodable_units"))


def _match(kind: Kind, file: WebmFile, sent: SentMedia, begin_wall_ns: int) -> _MatchedTrack:
    """Match each block with a unit that was sent."""
    found = _MatchedTrack()
    track = sent.tracks.get(kind)
    if track is None:
        found.faults.append(f"a track of {kind} that nobody sent")
        return found
    last, last_ms, shift_ns = -1, 0, 0
    zero_ns = begin_wall_ns - sent.begin_wall_ns
    for block in file.blocks[kind]:
        time_ns = zero_ns + block.time_ms * NS_PER_MS
        number = track.find(block.data, time_ns - shift_ns, last)
        if number is None:
            found.faults.append(f"{kind} at {block.time_ms} ms was not sent about then")
            return found
        if block.time_ms < last_ms:
            found.faults.append(f"{kind} goes back in time at {block.time_ms} ms")
        if number <= last:
            found.faults.append(f"{kind} at {block.time_ms} ms comes again or too late")
        if kind == "video" and number != last + 1 and not block.is_keyframe:
            found.faults.append(f"the picture at {block.time_ms} ms lacks the one before it")
        shift_ns = time_ns - track.times_ns[number]
        if kind == "video" and track.times_ns[number] < zero_ns and block.time_ms <= len(found.numbers):
            shift_ns = 0  # pictures before the start that later ones depend on are shown at the start, 1 ms apart
        found.numbers.append(number)
        found.shifts_ms.append(shift_ns / NS_PER_MS)
        last, last_ms = number, block.time_ms
    return found


def _sync(
    file: WebmFile, matched: Mapping[Kind, _MatchedTrack], settled_ms: int
) -> tuple[float, float, Sequence[str]]:
    """Compare the shift of each picture with that of the nearest audio before it.

    Return the largest difference in ms before `settled_ms` in the file and after it, and the faults.
    """
    audio, video = matched.get("audio"), matched.get("video")
    if audio is None or video is None or not audio.shifts_ms or not video.shifts_ms:
        return 0.0, 0.0, ()
    audio_blocks = file.blocks["audio"]
    worst = [(0.0, ""), (0.0, "")]
    place = 0
    for block, shift_ms in zip(file.blocks["video"], video.shifts_ms, strict=False):
        while place + 1 < len(audio.shifts_ms) and audio_blocks[place + 1].time_ms <= block.time_ms:
            place += 1
        is_settled = block.time_ms >= settled_ms
        off_ms = abs(shift_ms - audio.shifts_ms[place])
        if off_ms > worst[is_settled][0]:
            about = f"at {block.time_ms} ms video stands {shift_ms:.0f}, audio {audio.shifts_ms[place]:.0f} ms late"
            worst[is_settled] = off_ms, about
    limits = (MAX_START_SYNC_MS, MAX_SYNC_MS)
    faults = [f"out of sync: {about}" for (off_ms, about), limit in zip(worst, limits, strict=True) if off_ms > limit]
    return worst[0][0], worst[1][0], faults


def _missing(numbers: Sequence[int]) -> int:
    return sum(after - before - 1 for before, after in pairwise(numbers) if after > before + 1)


def _gap_faults(kind: Kind, missing: int, document: Document, loss: float) -> Iterator[str]:
    """Return a fault if units are missing without loss, or more of them than the recorder counted."""
    known = lost_units(document, kind)
    if missing and not loss:
        yield f"{missing} units of {kind} are missing though the network loses none"
    elif known is not None and missing > known:
        yield f"{missing} units of {kind} are missing, the recorder knows of {known}"


def _cue_faults(file: WebmFile) -> Iterator[str]:
    kind: Kind = "video" if file.blocks.get("video") else "audio"
    if not file.cues:
        yield "no cues"
    elif not all(is_true for _, _, is_true in file.cues):
        yield "a cue that leads to no key frame"
    elif file.blocks.get(kind) and file.cues[0][:2] != (kind, file.blocks[kind][0].time_ms):
        yield f"the first cue is not that of the first frame of {kind}"


def _duration_faults(file: WebmFile, document: Document, *, recovered: bool) -> Iterator[str]:
    last_ms = max((blocks[-1].time_ms for blocks in file.blocks.values() if blocks), default=0)
    if not 0 <= file.duration_ms - last_ms <= DURATION_MS:
        yield f"the header tells of {file.duration_ms:.0f} ms, the last frame is at {last_ms} ms"
    document_ms = (from_rfc3339(document["stop_timestamp"]) - from_rfc3339(document["start_timestamp"])) / NS_PER_MS
    if recovered and abs(document_ms - file.duration_ms) > DURATION_MS:
        yield f"recovered: the document tells of {document_ms:.0f} ms, the header of {file.duration_ms:.0f} ms"


def _head_faults(
    sent: SentMedia, matched: Mapping[Kind, _MatchedTrack], begin_wall_ns: int, end_wall_ns: int, edge_ns: int
) -> Iterator[str]:
    """Return the kinds that begin too late, or not at all."""
    for kind, track in sent.tracks.items():
        due = _count_before(track, begin_wall_ns + edge_ns - sent.begin_wall_ns)
        until = _count_before(track, end_wall_ns - edge_ns - sent.begin_wall_ns)
        numbers = matched[kind].numbers if kind in matched else []
        if not numbers:
            if until > due:
                yield f"{kind} is missing altogether"
        elif numbers[0] > due and until > due:
            late_ms = (track.times_ns[numbers[0]] - (begin_wall_ns - sent.begin_wall_ns)) / 1e6
            yield f"{kind} begins {late_ms:.0f} ms after the archive"


def _count_before(track: SentTrack, time_ns: int) -> int:
    """Return how many units were sent before this time."""
    return bisect_left(track.times_ns, time_ns)


def _first(matched: Mapping[Kind, _MatchedTrack]) -> Mapping[Kind, int]:
    return {kind: each.numbers[0] for kind, each in matched.items() if each.numbers}


def _last(matched: Mapping[Kind, _MatchedTrack]) -> Mapping[Kind, int]:
    return {kind: each.numbers[-1] for kind, each in matched.items() if each.numbers}


def short(faults: Iterable[str], most: int = 5) -> list[str]:
    """Return the first faults and the number of the others: one cause has many effects."""
    listed = list(faults)
    return listed[:most] + ([f"and {len(listed) - most} more"] if len(listed) > most else [])
