"""Packets that are known by their numbers, and a reorder buffer that is given them."""

from collections.abc import Iterable

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.reorder import InOrder, Lost, Reorder

WINDOW_NS = 1000 * NS_PER_MS
CYCLE = 1 << 16


def packet(sequence: int, at_ns: int = 0) -> RtpPacket:
    """A packet whose payload tells its number."""
    return RtpPacket(96, False, sequence & 0xFFFF, 0, 1, str(sequence).encode(), at_ns)


def told(in_order: InOrder) -> list[int | str]:
    """Numbers of packets; how many are lost, as text."""
    return [f"lost {item.count}" if isinstance(item, Lost) else int(item.payload) for item in in_order]


def push(reorder: Reorder, sequences: Iterable[int], at_ns: int = 0) -> list[int | str]:
    out: list[int | str] = []
    for sequence in sequences:
        out += told(reorder.push(packet(sequence, at_ns)))
    return out


def begun(*sequences: int) -> Reorder:
    """A reorder buffer that is past its beginning, with packets 100 to 102 and these."""
    reorder = Reorder(WINDOW_NS)
    assert push(reorder, [100, 101, 102, *sequences])
    return reorder
