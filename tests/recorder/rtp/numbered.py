"""Packets with their sequence number as payload, and what a reorder buffer returns for them as text."""

from collections.abc import Iterable

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.reorder import Discontinuity, InOrder, Lost, ReorderBuffer

WINDOW_NS = 1000 * NS_PER_MS
CYCLE = 1 << 16


def packet(sequence: int, at_ns: int = 0) -> RtpPacket:
    """Return a packet whose payload is its sequence number."""
    return RtpPacket(96, False, sequence & 0xFFFF, 0, 1, str(sequence).encode(), at_ns)


def described(in_order: InOrder) -> list[int | str]:
    """Return the numbers of packets, and losses and discontinuities as text."""
    out: list[int | str] = []
    for item in in_order:
        match item:
            case Lost(count):
                out.append(f"lost {count}")
            case Discontinuity():
                out.append("discontinuity")
            case _:
                out.append(int(item.payload))
    return out


def push(reorder: ReorderBuffer, sequences: Iterable[int], at_ns: int = 0) -> list[int | str]:
    out: list[int | str] = []
    for sequence in sequences:
        out += described(reorder.push(packet(sequence, at_ns)))
    return out


def started(*sequences: int) -> ReorderBuffer:
    """Return a reorder buffer that has started, with packets 100 to 102 and these."""
    reorder = ReorderBuffer(WINDOW_NS)
    assert push(reorder, [100, 101, 102, *sequences])
    return reorder
