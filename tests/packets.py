"""Streams of RTP packets as networks deliver them, made of lists of payloads.

`stream` returns a sender's packets as they arrive over a perfect network. Every other function returns changed copies
of such packets in the order of their arrival, so that they can be chained:

    packets = doubled(delayed(stream(units, first_sequence=65_500), 35, 20 * NS_PER_MS))

Sequence numbers and timestamps have their width on the wire. A Track unwraps them in place: pass it each packet once.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from random import Random

from rokuga.recorder.media import NS_PER_S, RtpPacket

Packets = Sequence[RtpPacket]


def stream(
    units: Iterable[Sequence[bytes]],
    *,
    ssrc: int = 1,
    payload_type: int = 96,
    first_sequence: int = 1000,
    first_timestamp: int = 90_000,
    step: int = 3000,
    interval_ns: int = NS_PER_S // 30,
    start_ns: int = NS_PER_S,
) -> list[RtpPacket]:
    """One packet a payload; the last one of a unit has the marker, all of it arrive at the unit's time.

    `step` is the timestamp's way from one unit to the next, `interval_ns` its time. An empty unit sends nothing.
    """
    packets = []
    sequence = first_sequence
    for number, payloads in enumerate(units):
        timestamp = first_timestamp + number * step & 0xFFFFFFFF
        arrival_ns = start_ns + number * interval_ns
        for place, payload in enumerate(payloads, 1):
            marker = place == len(payloads)
            packets.append(RtpPacket(payload_type, marker, sequence & 0xFFFF, timestamp, ssrc, payload, arrival_ns))
            sequence += 1
    return packets


def without(packets: Packets, places: Collection[int]) -> list[RtpPacket]:
    """Lose the packets at these places of the list."""
    return [replace(packet) for place, packet in enumerate(packets) if place not in places]


def delayed(packets: Packets, place: int, by_ns: int) -> list[RtpPacket]:
    """Let one packet arrive later, behind those that arrive at the same moment."""
    others = without(packets, {place})
    late = replace(packets[place], arrival_ns=packets[place].arrival_ns + by_ns)
    return sorted([*others, late], key=lambda packet: packet.arrival_ns)


def shuffled(packets: Packets, random: Random, reach_ns: int) -> list[RtpPacket]:
    """Delay each packet on its own, by less than `reach_ns`."""
    late = [replace(packet, arrival_ns=packet.arrival_ns + random.randrange(reach_ns)) for packet in packets]
    return sorted(late, key=lambda packet: packet.arrival_ns)


def doubled(packets: Packets, after_ns: int = 0) -> list[RtpPacket]:
    """Let each packet arrive twice, the second time `after_ns` later."""
    again = [replace(packet, arrival_ns=packet.arrival_ns + after_ns) for packet in packets]
    return sorted([*(replace(packet) for packet in packets), *again], key=lambda packet: packet.arrival_ns)
