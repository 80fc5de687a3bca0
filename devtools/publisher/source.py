"""One outgoing RTP source: sequence numbers, retransmissions, sender reports. Pure; random numbers are passed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.media import NS_PER_S, RtpPacket
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import build_source_description
from rokuga.recorder.rtp.sender_report import build_sender_report

RING_PACKETS: Final = 1024
"""Packets that are kept for retransmission."""

NTP_EPOCH_NS: Final = 2_208_988_800 * NS_PER_S
"""From 1900, the NTP epoch, to 1970."""


@dataclass(frozen=True, slots=True)
class SourceNumbers:
    """The initial numbers of a source, all of them random (RFC 3550 section 5.1)."""

    ssrc: int
    rtx_ssrc: int
    sequence: int
    timestamp: int


class OutgoingSource:
    """Builds the packets of a source. `payload_type` and `rtx_payload_type` are negotiated; None without RTX."""

    def __init__(
        self, numbers: SourceNumbers, clock_rate_hz: int, payload_type: int, rtx_payload_type: int | None
    ) -> None:
        self.ssrc = numbers.ssrc
        self.rtx_ssrc = numbers.rtx_ssrc
        self.packets = 0
        self.octets = 0
        self._clock_rate_hz = clock_rate_hz
        self._payload_type = payload_type
        self._rtx_payload_type = rtx_payload_type
        self._sequence = numbers.sequence
        self._rtx_sequence = numbers.sequence ^ 0x5555
        self._timestamp = numbers.timestamp
        self._ring: dict[int, RtpPacket] = {}

    def packetize(self, payloads: Sequence[bytes], media_ns: int) -> Sequence[bytes]:
        """Return the packets of one unit, `media_ns` after the start; the last one has the marker bit."""
        timestamp = self._rtp_time(media_ns)
        packets = []
        for place, payload in enumerate(payloads):
            sequence = self._sequence = (self._sequence + 1) & 0xFFFF
            packet = RtpPacket(
                self._payload_type, place == len(payloads) - 1, sequence, timestamp, self.ssrc, payload, 0
            )
            self._ring[sequence % RING_PACKETS] = packet
            self.packets += 1
            self.octets += len(payload)
            packets.append(build_rtp(packet))
        return packets

    def retransmit(self, sequence: int) -> bytes | None:
        """Return a packet again, as RTX (RFC 4588) if that was negotiated; None if it is not kept any more."""
        packet = self._ring.get(sequence % RING_PACKETS)
        if packet is None or packet.sequence != sequence:
            return None
        if self._rtx_payload_type is None:
            return build_rtp(packet)
        self._rtx_sequence = (self._rtx_sequence + 1) & 0xFFFF
        return build_rtp(
            RtpPacket(
                self._rtx_payload_type,
                packet.marker,
                self._rtx_sequence,
                packet.timestamp,
                self.rtx_ssrc,
                sequence.to_bytes(2, "big") + packet.payload,
                0,
            )
        )

    def report(self, media_ns: int, wall_ns: int, cname: str) -> bytes:
        """Return a compound of SR and SDES that maps `media_ns` to the wall clock."""
        report = build_sender_report(
            self.ssrc, NTP_EPOCH_NS + wall_ns, self._rtp_time(media_ns), self.packets, self.octets
        )
        return report + build_source_description(self.ssrc, cname)

    def _rtp_time(self, media_ns: int) -> int:
        return self._timestamp + (media_ns * self._clock_rate_hz + NS_PER_S // 2) // NS_PER_S & 0xFFFFFFFF
