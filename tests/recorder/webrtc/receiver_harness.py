"""A receiver without a network, and the packets sent to it."""

from dataclasses import replace

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import RtcpMessage, parse_rtcp
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia

VP9, OPUS = CODECS["VP9"], CODECS["OPUS"]
VIDEO, NEXT, RTX, NEXT_RTX, AUDIO = 0x200, 0x201, 0x300, 0x301, 0x100


def keyframe(width: int, height: int) -> bytes:
    """Return a payload that is a complete VP9 key frame by its bits B and E (RFC 9628): it is passed on at once."""
    size = (0x2 << 36 | width - 1 << 20 | height - 1 << 4).to_bytes(5, "big")
    return bytes.fromhex("0c 82498342") + size + bytes(20)


KEYFRAME = keyframe(320, 180)
DELTA = bytes.fromhex("4c 86 00 00") + bytes(20)
SOUND = b"\xfc" + bytes(30)
FRAME = 33 * NS_PER_MS

MEDIA: dict[Kind, AnsweredMedia] = {
    "audio": AnsweredMedia(OPUS, OPUS.payload_type, {}, None, (AUDIO,), {}, nack=False),
    "video": AnsweredMedia(VP9, VP9.payload_type, {}, VP9.rtx_payload_type, (VIDEO,), {RTX: VIDEO}, nack=True),
}


class ReceiverHarness:
    """A receiver and, in order, what its sink received; time is `now_ns`."""

    def __init__(
        self, media: dict[Kind, AnsweredMedia] | None = None, *, own_ssrc: int = 7, write_damaged: bool = False
    ) -> None:
        self.received: list[tuple[str, Kind, AccessUnit | tuple[int, int, int] | None]] = []
        self.now_ns = 10**12
        self.sequences: dict[int, int] = {}
        self.rtcp: list[RtcpMessage] = []
        self.receiver = Receiver(
            MEDIA if media is None else media,
            self,
            own_ssrc=own_ssrc,
            remb_bps=3_000_000,
            write_damaged=write_damaged,
        )

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Record a unit."""
        self.received.append(("unit", kind, unit))

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Record a sender report."""
        self.received.append(("report", kind, (ntp_ns, rtp_time, arrival_ns)))

    def source_changed(self, kind: Kind) -> None:
        """Record a change of source."""
        self.received.append(("changed", kind, None))

    def packet(self, ssrc: int, payload: bytes, *, payload_type: int = VP9.payload_type) -> RtpPacket:
        """Return the next packet of a stream; each is a frame of its own."""
        sequence = self.sequences[ssrc] = self.sequences.get(ssrc, 99) + 1
        return RtpPacket(payload_type, True, sequence, sequence * 3000, ssrc, payload, self.now_ns)

    def send(self, *packets: RtpPacket, step_ns: int = FRAME) -> None:
        """Pass packets to the receiver, with a tick after each."""
        for packet in packets:
            self.receiver.rtp(build_rtp(packet), self.now_ns)
            self.pass_time(step_ns)

    def pass_time(self, step_ns: int) -> bytes:
        """Advance the time, then tick; return the RTCP that is sent."""
        self.now_ns += step_ns
        data = self.receiver.tick(self.now_ns)
        self.rtcp += parse_rtcp(data)
        return data

    def video(self, ssrc: int, *payloads: bytes) -> None:
        """Pass frames of one packet each to the receiver."""
        for payload in payloads:
            self.send(self.packet(ssrc, payload))

    def repair(self, packet: RtpPacket, rtx_ssrc: int = RTX) -> None:
        """Retransmit a packet by RFC 4588."""
        payload = packet.sequence.to_bytes(2, "big") + packet.payload
        sequence = self.sequences[rtx_ssrc] = self.sequences.get(rtx_ssrc, 0) + 1
        self.send(
            replace(packet, payload_type=VP9.rtx_payload_type, ssrc=rtx_ssrc, sequence=sequence, payload=payload)
        )

    @property
    def summary(self) -> str:
        """What the sink received, a letter each: K key frame, d delta, a audio, C source changed, R report."""
        letters = []
        for what, _, detail in self.received:
            if isinstance(detail, AccessUnit):
                letters.append("a" if len(detail.data) == len(SOUND) else "K" if detail.is_keyframe else "d")
            else:
                letters.append({"changed": "C", "report": "R"}[what])
        return "".join(letters)
