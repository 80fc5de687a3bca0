"""What each step of a packet's way costs, in one process: us of CPU for each packet, and the floor beneath it.

    python -m benchmarks.stages

The floor is what no recorder can do without: the read of the socket by our own code, and the decryption. The whole
way against the floor is a ratio that holds on any machine; the single figures are those of one machine.
"""

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pylibsrtp import Policy

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.sender import ClipSender
from rokuga.devtools.publisher.source import OutgoingSource, SourceNumbers
from rokuga.recorder.archive.container_table import WEBM
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, RtpPacket
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.rtp.packet import parse_rtp
from rokuga.recorder.rtp.reorder import ReorderBuffer
from rokuga.recorder.sync.timeline import Timeline
from rokuga.recorder.webrtc.dtls.srtp import DatagramBuffer, SrtpReceiver, srtp_session
from rokuga.recorder.webrtc.ice.ice_lite import IceLite
from rokuga.recorder.webrtc.transport.demultiplexer import Demultiplexer
from rokuga.recorder.webrtc.transport.flow import Flow
from rokuga.recorder.webrtc.transport.local_sockets import bind_all
from rokuga.recorder.webrtc.transport.udp_port import UdpPort

CLIP: Final = Path(__file__).parent.parent / "media-samples" / "vp9-opus.webm"
ROUNDS: Final = 7
BURST: Final = 100
BATCH_UNITS: Final = 8
"""What the archiver hands over at a time, of 30 pictures and 50 sounds a second."""
KEY: Final = bytes(range(28))


def packets() -> Sequence[tuple[int, bytes]]:
    """Return the clip as RTP packets, each with its time in ns."""
    clip = read_clip(CLIP)
    sources = {}
    for number, (kind, track) in enumerate(clip.tracks.items()):
        codec = CODECS[track.codec_type]
        numbers = SourceNumbers(number + 1, number + 11, 1, 1)
        sources[kind] = OutgoingSource(numbers, codec.clock_rate_hz, codec.payload_type, None)
    sender = ClipSender(clip, sources, "bench")
    return [
        (time_ns, packet)
        for time_ns in range(0, clip.duration_ns, 5 * NS_PER_MS)
        for packet in sender.packets(time_ns)
    ]


def least_us(work: Callable[[], int]) -> float:
    """Repeat the work, and return its least CPU time per packet; the work returns its number of packets."""
    found = []
    for _ in range(ROUNDS):
        begin_ns = time.process_time_ns()
        count = work()
        found.append((time.process_time_ns() - begin_ns) / count / 1000)
    return round(min(found), 2)


def decrypt_us(sent: Sequence[tuple[int, bytes]], buffer: DatagramBuffer) -> float:
    """Decrypt in place, as a peer does; putting the datagram into the buffer is not counted."""
    profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
    sending = srtp_session(KEY, Policy.SSRC_ANY_OUTBOUND, profile)
    protected = [sending.protect(packet) for _, packet in sent]
    found = []
    for _ in range(ROUNDS):
        receiver = SrtpReceiver(srtp_session(KEY, Policy.SSRC_ANY_INBOUND, profile))
        spent_ns = 0
        for datagram in protected:
            buffer.data[: len(datagram)] = datagram
            begin_ns = time.perf_counter_ns()
            assert receiver.unprotect(buffer, len(datagram))
            spent_ns += time.perf_counter_ns() - begin_ns
        found.append(spent_ns / len(protected) / 1000)
    return round(min(found), 2)


class IgnoringPeer:
    """A handler that does nothing."""

    def receive_srtp(self, size: int, now_ns: int) -> None:
        """Ignore a packet."""

    def receive_dtls(self, data: bytes) -> None:
        """Ignore a datagram."""

    def fail(self, error: Exception) -> None:
        """Raise what was raised."""
        raise error


async def read_us(sent: Sequence[tuple[int, bytes]]) -> float:
    """Read bursts from a socket by the port's own code, up to the call of a peer that does nothing."""
    bound = bind_all(["127.0.0.1"], 0).udp
    async with UdpPort(Demultiplexer(lambda data, path: None), time.monotonic_ns) as port:
        port.add(bound[0], 0)
        local = port._sockets[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(bound[0].getsockname())
            local.flows[client.getsockname()] = Flow(
                IceLite("u", "p"),
                IgnoringPeer(),
                send=lambda data, path: None,
                remove=lambda flow: None,
            )
            found = []
            for begin in range(0, len(sent) - BURST, BURST):
                for _, packet in sent[begin : begin + BURST]:
                    client.send(packet)
                begin_ns = time.process_time_ns()
                count = port._read_batch(local)
                found.append((time.process_time_ns() - begin_ns) / max(count, 1) / 1000)
    found.sort()
    return round(found[len(found) // 4], 2)


def parsed(sent: Sequence[tuple[int, bytes]]) -> list[RtpPacket]:
    """Parse all packets."""
    return [parse_rtp(packet, time_ns) for time_ns, packet in sent]


def units(sent: Sequence[tuple[int, bytes]]) -> list[tuple[Kind, AccessUnit]]:
    """Depacketize all packets."""
    kinds: Mapping[int, Kind] = {CODECS["OPUS"].payload_type: "audio", CODECS["VP9"].payload_type: "video"}
    depacketizers = {"audio": CODECS["OPUS"].depacketizer({}), "video": CODECS["VP9"].depacketizer({})}
    found = []
    for packet in parsed(sent):
        kind = kinds[packet.payload_type]
        unit = depacketizers[kind].push(packet)
        if unit is not None:
            found.append((kind, unit))
    return found


def in_process(sent: Sequence[tuple[int, bytes]]) -> dict[str, float]:
    """Measure the pure stages and the muxer."""
    found = units(sent)

    def reorder() -> int:
        by_ssrc = {1: ReorderBuffer(NS_PER_MS), 2: ReorderBuffer(NS_PER_MS)}
        ready = parsed(sent)
        begin_ns = time.process_time_ns()
        for packet in ready:
            by_ssrc[packet.ssrc].push(packet)
        spent.append(time.process_time_ns() - begin_ns)
        return len(ready)

    def timeline() -> int:
        push = Timeline({"audio": 48_000, "video": 90_000}).push
        for kind, unit in found:
            push(kind, unit)
        return len(sent)

    def mux() -> int:
        with tempfile.TemporaryDirectory() as folder:
            muxer = WEBM.open(f"{folder}/file", TrackConfig("OPUS"), TrackConfig("VP9"), 0, 0o640)
            for kind, unit in {kind: (kind, unit) for kind, unit in reversed(found)}.values():
                muxer.begin_track(kind, unit)
            for number, (kind, unit) in enumerate(found):
                muxer.write(kind, unit.data, unit.arrival_ns, unit.is_keyframe)
                if number % BATCH_UNITS == 0:
                    muxer.flush()
            muxer.abandon()
        return len(sent)

    spent: list[int] = []
    parse_us = least_us(lambda: len(parsed(sent)))
    for _ in range(ROUNDS):
        reorder()
    return {
        "parse": parse_us,
        "reorder": round(min(spent) / len(sent) / 1000, 2),
        "depacketize": round(least_us(lambda: len(units(sent)) and len(sent)) - parse_us, 2),
        "timeline": least_us(timeline),
        "mux": least_us(mux),
    }


async def stages() -> dict[str, float]:
    """Measure everything; us for each packet. The port is not entered where only its buffer is needed."""
    sent = packets()
    table = {"read": await read_us(sent), "decrypt": decrypt_us(sent, DatagramBuffer(2048)), **in_process(sent)}
    table["floor"] = round(table["read"] + table["decrypt"], 2)
    return table


def main() -> None:
    """Print the table."""
    for stage, us in asyncio.run(stages()).items():
        print(f"{stage:12} {us:6.2f} us")


if __name__ == "__main__":
    main()
