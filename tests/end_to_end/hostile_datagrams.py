"""Hostile datagrams, from an unknown socket and from the address of a publisher."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
from aioice.stun import Class, Message, Method

from rokuga.devtools.publisher import pace
from rokuga.recorder.webrtc.outgoing.peer import OutgoingPeer

VARIANTS = 64
"""Random datagrams per kind; more would only measure how fast they are generated."""

MAX_UDP_BYTES = 65507


def hostile_datagrams(username: str) -> Mapping[str, Sequence[bytes]]:
    """Return datagrams by kind; `username` is that of a connectivity check, RECORDER_UFRAG:PUBLISHER_UFRAG."""
    noise = random.Random(7)

    def random_datagrams(*firsts: bytes, sizes: Sequence[int]) -> Sequence[bytes]:
        return [noise.choice(firsts) + noise.randbytes(noise.choice(sizes)) for _ in range(VARIANTS)]

    usual = (0, 1, 10, 40, 100, 1100)
    return {
        "checks with bad integrity": [_check(username, noise) for _ in range(VARIANTS)],
        "STUN-like": random_datagrams(b"\x00\x01", b"\x01\x01", b"\x00\x01\x00\x30\x21\x12\xa4\x42", sizes=usual),
        "DTLS-like": random_datagrams(
            b"\x16\xfe\xfd", b"\x17\xfe\xfd\x00\x01", b"\x15\xfe\xfd", b"\x14", sizes=usual
        ),
        "SRTP-like": random_datagrams(b"\x80\x7a", b"\x90\xfa", sizes=usual),
        "SRTCP-like": random_datagrams(b"\x80\xc8", b"\x81\xc9", sizes=usual),
        "noise": random_datagrams(b"", sizes=(1, 20, 100, 1100, 1600, 9000)),
        "empty": [b""],
        "65 kB": [first + bytes(MAX_UDP_BYTES - 1) for first in (b"\x00", b"\x16", b"\x80", b"\xff")],
    }


def _check(username: str, noise: random.Random) -> bytes:
    """Return a correct connectivity check, but signed with another password."""
    message = Message(Method.BINDING, Class.REQUEST, attributes={"USERNAME": username})
    message.attributes["PRIORITY"] = noise.getrandbits(31)
    message.attributes["ICE-CONTROLLING"] = noise.getrandbits(64)
    message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(noise.randbytes(16))
    return bytes(message)


def keep_outgoing_peers(monkeypatch: pytest.MonkeyPatch) -> list[OutgoingPeer]:
    """Return a list to which every new outgoing peer of this process is appended."""
    kept: list[OutgoingPeer] = []

    def make(*arguments: object) -> OutgoingPeer:
        kept.append(OutgoingPeer(*arguments))  # type: ignore[arg-type]  # passed on
        return kept[-1]

    monkeypatch.setattr(pace, "OutgoingPeer", make)
    return kept


def username_of(peer: OutgoingPeer) -> str:
    """Return the USERNAME of a peer's connectivity checks, which is not secret."""
    return f"{peer._offer.ice_ufrag}:{peer._ufrag}"


def socket_of(peer: OutgoingPeer) -> socket.socket:
    """Return a second handle on the socket of a connected peer."""
    assert peer._path is not None
    assert peer._path.transport is not None
    return socket.socket(fileno=os.dup(peer._path.transport.get_extra_info("socket").fileno()))


def unknown_socket(port: int) -> socket.socket:
    """Return a socket with an address that is unknown to the recorder."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.connect(("127.0.0.1", port))
    return opened


async def send_datagrams(
    sender: socket.socket, datagrams: Sequence[bytes], count: int, pause: Callable[[], Awaitable[None]]
) -> None:
    """Send so many datagrams, in rotation, with a pause after each batch of fifty."""
    sender.setblocking(False)
    for place in range(count):
        while True:
            try:
                sender.send(datagrams[place % len(datagrams)])
                break
            except BlockingIOError:
                await pause()
            except ConnectionRefusedError:
                continue  # an ICMP response to an earlier datagram
        if place % 50 == 49:
            await pause()


async def send_by_tcp(port: int, datagrams: Sequence[bytes], count: int) -> None:
    """Connect so many times, and send five datagrams each until the recorder closes; half of them without framing."""
    for place in range(count):
        few = [datagrams[(place + more) % len(datagrams)] for more in range(5)]
        framed = [len(datagram).to_bytes(2, "big") + datagram for datagram in few]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError):  # the recorder has closed it already
            writer.write(b"".join(few if place % 2 else framed))
            writer.write_eof()
            while await reader.read(65536):
                pass
        writer.transport.abort()
