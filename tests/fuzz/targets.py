"""A fuzz target per parser. Each takes any bytes and fails only where the house's promise is broken.

`python -m tests.fuzz.targets SECONDS [NAME ...]` runs them with atheris, one after the other, for SECONDS each.
What is found belongs to `tests/vectors/fuzz/NAME/`, as hexadecimal text; `test_targets.py` replays it for ever.
"""

import gc
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Final

import msgspec
from aiortc.sdp import SessionDescription

from rokuga.api.signaling.client_messages import MAX_FIELD_BYTES
from rokuga.api.signaling.conversation import Conversation, Open, Phase
from rokuga.api.whip.problem import Problem
from rokuga.api.whip.translation import read_fragment
from rokuga.recorder.codecs.depacketizer import Depacketizer, PayloadError
from rokuga.recorder.codecs.h264 import parameter_sets
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, RtpPacket
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.rtp.packet import RtpError, build_rtp, is_rtcp, parse_rtp, unwrap_rtx
from rokuga.recorder.rtp.rtcp import (
    Nack,
    RtcpError,
    build_goodbye,
    build_nack,
    build_pli,
    build_receiver_report,
    build_remb,
    build_source_description,
    parse_rtcp,
)
from rokuga.recorder.rtp.sender_report import build_sender_report
from rokuga.recorder.webrtc.outgoing.sdp import read_offer as read_remote_offer
from rokuga.recorder.webrtc.outgoing.sdp import write_answer as write_client_answer
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.sdp.answer import read_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    AnsweredMedia,
    Candidate,
    LocalTransport,
    MediaOffer,
    SdpError,
    write_offer,
)
from rokuga.recorder.webrtc.sdp.session_description import (
    MAX_CREDENTIAL_CHARACTERS,
    MAX_PARAMETERS,
    MAX_SOURCES,
    parse_description,
)
from rokuga.recorder.webrtc.sdp.whip_offer import agree, read_offer, write_answer
from tests.recorder.codecs import clips, packetize

MAX_BYTES: Final = 20_000
"""Longest input: a few packets, or some dozens of small ones."""

AUDIO, VIDEO, RTX = 1, 2, 3
VP8, OPUS = CODECS["VP8"], CODECS["OPUS"]
SOUND = b"\xfc" + bytes(20)
MEDIA: Mapping[Kind, AnsweredMedia] = {
    "audio": AnsweredMedia(OPUS, OPUS.payload_type, {}, None, (), {}, nack=True),
    "video": AnsweredMedia(VP8, VP8.payload_type, {}, VP8.rtx_payload_type, (), {RTX: VIDEO}, nack=True),
}

TRANSPORT = LocalTransport("ufrag", "p" * 32, "AB:" * 31 + "CD", (Candidate("192.0.2.1", 5004),))

ANSWERED = MediaOffer(TrackConfig("OPUS"), TrackConfig("VP9"))

TEXTS: Final = frozenset({"offer", "answer", "client_offer", "signaling", "fragment", "sprop"})

Target = Callable[[bytes], None]


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Part an input into records: a byte that says what it is, two of length, and that many bytes or what is left."""
    begin = 0
    while begin < len(data):
        end = begin + 3 + int.from_bytes(data[begin + 1 : begin + 3], "big")
        yield data[begin], data[begin + 3 : end]
        begin = end


def record(what: int, data: bytes) -> bytes:
    """Write a record, for seeds."""
    return bytes((what,)) + len(data).to_bytes(2, "big") + data


def rtp(data: bytes) -> None:
    """A packet or RtpError; what was read is written, read again, the same. So is what it carries if it is RTX."""
    try:
        packet = parse_rtp(data, 5)
        assert len(packet.payload) <= len(data) - 12
        assert parse_rtp(build_rtp(packet), 5) == packet
        assert parse_rtp(build_rtp(packet, data[:7]), 5) == packet
        original = unwrap_rtx(packet, 100, 9)
    except RtpError:
        return
    if packet.payload:
        assert (original.payload_type, original.ssrc, original.payload) == (100, 9, packet.payload[2:])


def rtcp(data: bytes) -> None:
    """Messages or RtcpError, as many as the bytes have room for; a NACK that is written again asks for the same."""
    try:
        messages = parse_rtcp(data)
    except RtcpError:
        return
    assert len(messages) <= len(data) // 4
    for message in messages:
        if isinstance(message, Nack) and message.sequences:
            (again,) = parse_rtcp(build_nack(1, message.media_ssrc, message.sequences[:100]))
            assert isinstance(again, Nack)
            assert set(again.sequences) == set(message.sequences[:100])


def offer(data: bytes) -> None:
    """An answer or SdpError; an answer of a line each, whatever was offered, which a parser takes."""
    try:
        offered = read_offer(data.decode("latin-1"))
        tracks = {kind: TrackConfig(names[0]) for kind, names in offered.codec_types.items()}
        wanted = MediaOffer(tracks.get("audio"), tracks.get("video"))
        answer = write_answer(offered, agree(offered, wanted), wanted, TRANSPORT, 1)
    except SdpError:
        return
    assert answer.split("\r\n") == [*answer.splitlines(), ""]
    SessionDescription.parse(answer)


def answer(data: bytes) -> None:
    """An answer to our offer or SdpError; what is kept of it has limits."""
    try:
        read = read_answer(data.decode("latin-1"), ANSWERED)
    except SdpError:
        return
    assert read.media
    assert len(read.ice_ufrag) + len(read.ice_password) <= 2 * MAX_CREDENTIAL_CHARACTERS
    for media in read.media.values():
        assert len(media.ssrcs) + len(media.rtx_ssrcs) <= 2 * MAX_SOURCES
        assert len(media.format_parameters) <= MAX_PARAMETERS


def client_offer(data: bytes) -> None:
    """What a publisher reads of a recorder's offer, or SdpError; its answer is lines that a parser takes."""
    try:
        remote = read_remote_offer(data.decode("latin-1"), {"audio": "OPUS", "video": "VP9"})
    except SdpError:
        return
    text = write_client_answer(remote, TRANSPORT, dict.fromkeys(remote.tracks, (1, 2)), "cname")
    assert text.split("\r\n") == [*text.splitlines(), ""]
    parse_description(text, "answer")


def signaling(data: bytes) -> None:
    """Frames in any phase: actions and never an exception; what is asked for is small and can be written as JSON."""
    for phase in Phase:
        conversation = Conversation(0)
        conversation.phase = phase
        for action in conversation.receive(data, 1):
            if isinstance(action, Open):
                written = msgspec.json.encode((action.request, action.notify_metadata))
                assert len(written) <= 2 * MAX_FIELD_BYTES["signaling_notify_metadata"]


def fragment(data: bytes) -> None:
    """The credentials of a PATCH, or Problem."""
    try:
        read = read_fragment(data.decode("latin-1"))
    except Problem:
        return
    assert read.ice_ufrag
    assert read.ice_password


def sprop(data: bytes) -> None:
    """H.264 parameter sets of an SDP, and a depacketizer that was told of them."""
    fmtp = {"sprop-parameter-sets": data.decode("latin-1")}
    assert all(parameter_sets(fmtp))
    through(CODECS["H264"].depacketizer(fmtp), data)


def through(depacketizer: Depacketizer, data: bytes) -> None:
    """Units or PayloadError, and what is dropped is counted.

    Bits of a record: 1 marker, 2 new unit, 4 and 8 lost, 16 a second without a packet.
    """
    time = dropped = now_ns = 0
    for what, payload in records(data):
        time += 3000 * (what >> 1 & 1)
        if what & 12:
            depacketizer.lost(what >> 2 & 3)
        try:
            unit = depacketizer.push(RtpPacket(96, bool(what & 1), 0, time, 1, payload, 0))
        except PayloadError as error:
            unit = error.unit
            assert depacketizer.dropped_units
        assert unit is None or (unit.data and unit.rtp_time <= time)
        if what & 16:
            now_ns += 1000 * NS_PER_MS
            depacketizer.settle(now_ns)
        assert depacketizer.is_open or not depacketizer.is_awaited
        assert depacketizer.dropped_units >= dropped
        dropped = depacketizer.dropped_units
    depacketizer.flush()


def depacketizer_of(name: str) -> Target:
    """After anything at all, the second of two whole key frames comes out at the latest."""

    def target(data: bytes) -> None:
        depacketizer = CODECS[name].depacketizer({})
        through(depacketizer, data)
        depacketizer.lost(1000)
        out: list[AccessUnit] = []
        for number, packets in enumerate(packetize.packets([payloads(name)[0]] * 2)):
            for packet in packets:
                packet.timestamp += 1 << 40
                try:
                    unit = depacketizer.push(packet)
                except PayloadError:
                    assert number == 0 or packet is packets[0], "the second one shows what is wrong with the first"
                else:
                    out += [unit] if unit is not None else []
        last = depacketizer.flush()
        out += [last] if last is not None else []
        assert out, "no key frame comes out any more"
        assert out[-1].is_keyframe
        assert out[-1].rtp_time == (1 << 40) + 3000

    return target


def payloads(name: str) -> list[list[bytes]]:
    """The payloads of a few real units; the first one and the fourth are key frames."""
    if name == "OPUS":
        return [[SOUND], [b"\x03\x83" + bytes(9)], [b"\x78"], [SOUND]]
    units = clips.encoded(name, 96, 64, 6, (0, 3))
    parted: dict[str, Callable[[bytes], list[bytes]]] = {
        "VP8": packetize.vp8,
        "VP9": packetize.vp9,
        "AV1": packetize.av1,
        "H264": lambda unit: packetize.h264(packetize.nal_units(unit)),
    }
    return [parted[name](unit) for unit in units]


class Sink:
    """Keeps the units of the newest sources."""

    def __init__(self) -> None:
        self.units: list[AccessUnit] = []

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Keep a unit."""
        self.units.append(unit)

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Ignore a sender report."""

    def source_changed(self, kind: Kind) -> None:
        """Drop the units of the source before."""
        self.units.clear()


def receiver(data: bytes) -> None:
    """Any datagrams in any order are taken or dropped; units of a kind go forwards in time.

    Bits of a record: 1 is RTCP whatever it looks like, the others are the time that passes before, in 4 ms.
    """
    sink = Sink()
    peer = Receiver(MEDIA, sink, own_ssrc=7, remb_bps=1_000_000)
    now_ns = 10**12
    taken = 0
    for what, datagram in records(data):
        now_ns += (what >> 1) * 4 * NS_PER_MS
        take = peer.rtcp if what & 1 or is_rtcp(datagram) else peer.rtp
        take(datagram, now_ns)
        taken += 1
        parse_rtcp(peer.tick(now_ns))
    peer.flush(now_ns)
    parse_rtcp(peer.tick(now_ns + 2000 * NS_PER_MS))
    assert peer.dropped_packets <= taken
    assert len(sink.units) <= taken


TARGETS: Mapping[str, Target] = {
    "rtp": rtp,
    "rtcp": rtcp,
    "receiver": receiver,
    "sprop": sprop,
    "offer": offer,
    "answer": answer,
    "client_offer": client_offer,
    "signaling": signaling,
    "fragment": fragment,
    **{name.lower(): depacketizer_of(name) for name in CODECS},
}


def _stream(ssrc: int, codec_payload_type: int, numbers: Sequence[int], payload: bytes) -> bytes:
    packets = (RtpPacket(codec_payload_type, True, n & 0xFFFF, n * 3000, ssrc, payload, 0) for n in numbers)
    return b"".join(record(10, build_rtp(packet)) for packet in packets)


def text_seeds(name: str) -> list[bytes]:
    """Texts of real clients, and of ours."""
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
    """Real input to begin from."""
    media = RtpPacket(96, True, 5, 6, 7, b"\x00\x09payload", 0)
    report = build_sender_report(VIDEO, 5 * 10**18, 99, 1, 2)
    compounds = [
        report + build_source_description(VIDEO, "cname") + build_goodbye((VIDEO, AUDIO)),
        build_receiver_report(7, ()) + build_nack(7, VIDEO, (1, 2, 30, 65535)) + build_pli(7, VIDEO),
        build_remb(7, 3_000_000, (VIDEO, AUDIO)),
    ]
    if name == "rtp":
        padded = bytearray(build_rtp(media) + b"\x00\x00\x03")
        padded[0] |= 0x20
        return [build_rtp(media), build_rtp(media, b"\x10\x01"), bytes(padded)]
    if name == "rtcp":
        return compounds
    if name == "receiver":
        key, delta = payloads("VP8")[0][0], b"\x10\x11\x00\x00" + bytes(20)
        video = _stream(VIDEO, VP8.payload_type, [65534], key) + _stream(
            VIDEO, VP8.payload_type, [65535, 65537], delta
        )
        repair = _stream(RTX, VP8.rtx_payload_type, [1], b"\x00\x00" + delta)
        audio = _stream(AUDIO, OPUS.payload_type, [1, 2, 4, 30_000, 30_001], SOUND)
        other = _stream(9, VP8.payload_type, [5], key)
        return [video + repair + record(255, report) + other, audio + b"".join(record(1, data) for data in compounds)]
    if name in TEXTS:
        return text_seeds(name)
    units = payloads(name.upper())
    return [
        b"".join(
            record((i == len(unit) - 1) | 2 * (i == 0), payload)
            for unit in units[begin:]
            for i, payload in enumerate(unit)
        )
        for begin in (0, 2)
    ] + [record(3, payload) for unit in units for payload in unit[:2]]


def instrument(atheris: object) -> None:
    """Let atheris see the branches of all functions of ours that are loaded."""
    instrument_function = atheris.instrument_func  # type: ignore[attr-defined]  # no types without the package
    for function in [thing for thing in gc.get_objects() if isinstance(thing, FunctionType)]:
        if (function.__module__ or "").startswith(("rokuga.recorder.", "rokuga.api.")):
            instrument_function(function)


def run_one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process, which ends with it. `arguments` are libFuzzer's."""
    atheris = importlib.import_module("atheris")
    for seed in seeds(name):
        TARGETS[name](seed)
    instrument(atheris)
    atheris.Setup([name, *arguments], TARGETS[name])
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Fuzz targets one after the other, each in a process of its own; give the number of those that failed."""
    if arguments[0] in TARGETS:
        run_one(arguments[0], arguments[1:])
    failed = []
    for name in arguments[1:] or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            for number, seed in enumerate(seeds(name)):
                (Path(folder) / f"seed{number}").write_bytes(seed)
            limits = [f"-max_total_time={arguments[0]}", f"-max_len={MAX_BYTES}", "-timeout=10", "-rss_limit_mb=1024"]
            command = [sys.executable, "-m", "tests.fuzz.targets", name, *limits, "-artifact_prefix=fuzz-", folder]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
    print("failed:", *failed) if failed else print("nothing found")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
