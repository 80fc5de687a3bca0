"""A receiver without a network, and what is sent to it."""

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
    """A payload that is a whole VP9 key frame and says so by B and E (RFC 9628): it comes out at once."""
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


class Desk:
    """A receiver and what it told, in order; time passes by `now_ns`."""

    def __init__(
        self, media: dict[Kind, AnsweredMedia] | None = None, *, own_ssrc: int = 7, write_damaged: bool = False
    ) -> None:
        self.told: list[tuple[str, Kind, AccessUnit | tuple[int, int, int] | None]] = []
        self.now_ns = 10**12
        self.sequences: dict[int, int] = {}
        self.rtcp: list[RtcpMessage] = []
        self.receiver = Receiver(
            MEDIA if media is None else media,
            own_ssrc=own_ssrc,
            remb_bps=3_000_000,
            on_unit=lambda kind, unit: self.told.append(("unit", kind, unit)),
            on_sender_report=lambda kind, *report: self.told.append(("report", kind, report)),
            on_source_changed=lambda kind: self.told.append(("changed", kind, None)),
            write_damaged=write_damaged,
        )

    def packet(self, ssrc: int, payload: bytes, *, payload_type: int = VP9.payload_type) -> RtpPacket:
        """The next packet of a stream; each is a frame of its own."""
        sequence = self.sequences[ssrc] = self.sequences.get(ssrc, 99) + 1
        return RtpPacket(payload_type, True, sequence, sequence * 3000, ssrc, payload, self.now_ns)

    def send(self, *packets: RtpPacket, step_ns: int = FRAME) -> None:
        """Let packets arrive, with a tick after each."""
        for packet in packets:
            self.receiver.rtp(build_rtp(packet), self.now_ns)
            self.pass_time(step_ns)

    def pass_time(self, step_ns: int) -> bytes:
        """Let time pass, then tick; keep what is sent back."""
        self.now_ns += step_ns
        data = self.receiver.tick(self.now_ns)
        self.rtcp += parse_rtcp(data)
        return data

    def video(self, ssrc: int, *payloads: bytes) -> None:
        """Let frames of one packet each arrive."""
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
    def words(self) -> str:
        """What was told, in short: K key frame, d delta, a audio, C source changed, R report."""
        letters = []
        for what, _, detail in self.told:
            if isinstance(detail, AccessUnit):
                letters.append("a" if len(detail.data) == len(SOUND) else "K" if detail.is_keyframe else "d")
            else:
                letters.append({"changed": "C", "report": "R"}[what])
        return "".join(letters)
