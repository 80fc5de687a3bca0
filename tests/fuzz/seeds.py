"""Real input to begin from."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rokuga.recorder.media import RtpPacket
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import (
    build_goodbye,
    build_nack,
    build_pli,
    build_receiver_report,
    build_remb,
    build_source_description,
)
from rokuga.recorder.rtp.sender_report import build_sender_report
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    write_offer,
)
from tests.fuzz.media_targets import AUDIO, OPUS, RTX, SOUND, VIDEO, VP8, payloads
from tests.fuzz.network_targets import ANSWERED, CHECK, TRANSPORT
from tests.fuzz.records import record

TEXTS: Final = frozenset({"offer", "answer", "client_offer", "signaling", "fragment", "sprop"})


def _stream(ssrc: int, codec_payload_type: int, numbers: Sequence[int], payload: bytes) -> bytes:
    packets = (RtpPacket(codec_payload_type, True, n & 0xFFFF, n * 3000, ssrc, payload, 0) for n in numbers)
    return b"".join(record(10, build_rtp(packet)) for packet in packets)


def text_seeds(name: str) -> list[bytes]:
    """Return texts of real clients, and of our own."""
    vectors = Path(__file__).parent.parent / "vectors"
    playbooks = {book.stem: book.read_text().splitlines() for book in sorted((vectors / "whip").glob("*.jsonl"))}
    own = write_offer(ANSWERED, TRANSPORT, 1)
    texts: Mapping[str, Sequence[str]] = {
        "offer": [json.loads(lines[0])["body"] for lines in playbooks.values()],
        "answer": [own.replace("actpass", "active")],
        "client_offer": [own],
        "fragment": [json.loads(playbooks["medooze"][1])["body"]],
        "signaling": [
            line for book in sorted((vectors / "signaling").glob("*.jsonl")) for line in book.read_text().splitlines()
        ],
        "sprop": ["Z0LgH9oBQBbpUgAAAwACAAADAHkQ,aM48gA==", "b,,=,aM4"],
    }
    return [text.encode() for text in texts[name]]


def seeds(name: str) -> list[bytes]:
    """Return real input for a target."""
    if name in TEXTS:
        return text_seeds(name)
    if name in BINARY:
        return BINARY[name]()
    units = payloads(name.upper())
    return [
        b"".join(
            record((i == len(unit) - 1) | 2 * (i == 0), payload)
            for unit in units[begin:]
            for i, payload in enumerate(unit)
        )
        for begin in (0, 2)
    ] + [record(3, payload) for unit in units for payload in unit[:2]]


def rtp_seeds() -> list[bytes]:
    """Return packets: plain, with a header extension, with padding."""
    padded = bytearray(build_rtp(PACKET) + b"\x00\x00\x03")
    padded[0] |= 0x20
    return [build_rtp(PACKET), build_rtp(PACKET, b"\x10\x01"), bytes(padded)]


def rtcp_seeds() -> list[bytes]:
    """Return compounds with every kind of packet."""
    return [
        REPORT + build_source_description(VIDEO, "cname") + build_goodbye((VIDEO, AUDIO)),
        build_receiver_report(7, ()) + build_nack(7, VIDEO, (1, 2, 30, 65535)) + build_pli(7, VIDEO),
        build_remb(7, 3_000_000, (VIDEO, AUDIO)),
    ]


def receiver_seeds() -> list[bytes]:
    """Return streams with losses, a repair and a second source."""
    key, delta = payloads("VP8")[0][0], b"\x10\x11\x00\x00" + bytes(20)
    video = _stream(VIDEO, VP8.payload_type, [65534], key) + _stream(VIDEO, VP8.payload_type, [65535, 65537], delta)
    repair = _stream(RTX, VP8.rtx_payload_type, [1], b"\x00\x00" + delta)
    audio = _stream(AUDIO, OPUS.payload_type, [1, 2, 4, 30_000, 30_001], SOUND)
    other = _stream(9, VP8.payload_type, [5], key)
    return [video + repair + record(255, REPORT) + other, audio + b"".join(record(1, data) for data in rtcp_seeds())]


def stun_seeds() -> list[bytes]:
    """Return a check, signed by the target or not, and one with an unknown attribute."""
    attributes = CHECK[20:-32]
    unknown = b"\x00\x99\x00\x01a\0\0\0"
    return [b"\0" + CHECK, b"\3" + attributes, b"\1" + attributes, b"\3" + attributes + unknown]


def tcp_seeds() -> list[bytes]:
    """Return streams of frames, in one read or several."""
    packet = build_rtp(PACKET)
    frame = len(packet).to_bytes(2, "big") + packet
    checked = len(CHECK).to_bytes(2, "big") + CHECK
    split = record(0, frame[:1]) + record(0, frame[1:9]) + record(0, frame[9:] + frame * 3)
    return [b"\1" + split, b"\1" + record(0, frame * 40), b"\0" + record(0, checked), b"\0" + record(0, frame)]


PACKET = RtpPacket(96, True, 5, 6, 7, b"\x00\x09payload", 0)
REPORT = build_sender_report(VIDEO, 5 * 10**18, 99, 1, 2)
BINARY: Mapping[str, Callable[[], list[bytes]]] = {
    "rtp": rtp_seeds,
    "rtcp": rtcp_seeds,
    "receiver": receiver_seeds,
    "stun": stun_seeds,
    "tcp": tcp_seeds,
}
