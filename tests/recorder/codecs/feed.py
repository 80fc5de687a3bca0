"""Packets into a depacketizer, units out."""

from collections.abc import Sequence

from rokuga.recorder.codecs.depacketizer import Depacketizer, PayloadError
from rokuga.recorder.media import AccessUnit, RtpPacket


def packet(payload: bytes, time: int = 0, *, marker: bool = False) -> RtpPacket:
    return RtpPacket(96, marker, 0, time, 1, payload, 0)


def fed(depacketizer: Depacketizer, packets: Sequence[RtpPacket | None], *, flush: bool = True) -> list[AccessUnit]:
    """Push packets; None is a lost one. PayloadErrors are passed over."""
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
        except PayloadError:
            continue
    if missing:
        depacketizer.lost(missing)
    if flush:
        out.append(depacketizer.flush())
    return [unit for unit in out if unit is not None]
