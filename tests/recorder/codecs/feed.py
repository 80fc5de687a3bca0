"""Packets into a depacketizer, units out."""

from collections.abc import Sequence
from dataclasses import replace

from rokuga.recorder.codecs.depacketizer import Depacketizer, PayloadError
from rokuga.recorder.media import AccessUnit, RtpPacket

_NOTHING = b"\x80"
"""A payload of which no video format makes anything."""


def packet(payload: bytes, time: int = 0, *, marker: bool = False) -> RtpPacket:
    return RtpPacket(96, marker, 0, time, 1, payload, 0)


def ended(depacketizer: Depacketizer, last: RtpPacket) -> AccessUnit | None:
    """Push the last packet of a unit, then what shows that it was the last. Raises PayloadError."""
    unit = depacketizer.push(last)
    if not depacketizer.is_open:
        return unit
    assert unit is None, "only what ends the unit under way may be asked for"
    return followed(depacketizer, last)


def followed(depacketizer: Depacketizer, last: RtpPacket) -> AccessUnit | None:
    """Push a packet of another time, which is of no use and is not counted; return the unit that was under way.

    Raises PayloadError as far as that unit breaks its format.
    """
    dropped = depacketizer.dropped_units
    try:
        depacketizer.push(replace(last, timestamp=last.timestamp + 1, payload=_NOTHING, marker=True))
    except PayloadError as error:
        depacketizer.dropped_units -= 1
        if depacketizer.dropped_units != dropped:
            raise
        return error.unit
    raise AssertionError("no format has such a payload")


def fed(depacketizer: Depacketizer, packets: Sequence[RtpPacket | None], *, flush: bool = True) -> list[AccessUnit]:
    """Push packets; None is a lost one. PayloadErrors are passed over.

    Without `flush` the last packet ends its unit if it has the marker bit; else the unit stays under way.
    """
    out: list[AccessUnit | None] = []
    missing = 0
    for item in packets:
        if item is None:
            missing += 1
            continue
        if missing:
            depacketizer.lost(missing)
            missing = 0
        try:
            out.append(depacketizer.push(item))
        except PayloadError as error:
            out.append(error.unit)
    if missing:
        depacketizer.lost(missing)
    last = packets[-1] if packets else None
    if flush:
        out.append(depacketizer.flush())
    elif last is not None and last.marker and depacketizer.is_open:
        out.append(followed(depacketizer, last))
    return [unit for unit in out if unit is not None]
