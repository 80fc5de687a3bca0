"""The two ends of a UDP port in tests: a peer that keeps what it gets, and a socket of a publisher or a stranger."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aioice.stun import Class, Message, Method, parse_message

from rokuga.recorder.webrtc.ice.ice_lite import IceLite
from rokuga.recorder.webrtc.transport.flow import Flow
from rokuga.recorder.webrtc.transport.media_port import MediaPort

PASSWORD = "0123456789abcdef0123456789abcdef"
SRTP = b"\x80\x60" + bytes(30)
DTLS = b"\x16\xfe\xfd" + bytes(30)


@dataclass
class Sink:
    """A peer that keeps what it gets; `breaks` makes it fail as a fault of ours would."""

    port: MediaPort
    ufrag: str
    media: list[bytes] = field(default_factory=list)
    dtls: list[bytes] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    breaks: bool = False
    flow: Flow = field(init=False)

    def __post_init__(self) -> None:
        self.flow = self.port.open(IceLite(self.ufrag, PASSWORD), self.dtls.append, self.on_srtp, self.faults.append)

    def on_srtp(self, size: int, now_ns: int) -> None:
        """Keep a datagram of media."""
        if self.breaks:
            raise KeyError(now_ns)
        self.media.append(bytes(self.port.buffer.view[:size]))


def check(ufrag: str, password: str = PASSWORD) -> bytes:
    """A connectivity check that nominates."""
    message = Message(Method.BINDING, Class.REQUEST, attributes={"USERNAME": f"{ufrag}:peer", "USE-CANDIDATE": None})
    message.add_message_integrity(password.encode())
    return bytes(message)


class Client:
    """A UDP socket on `host` that sends to `to`."""

    def __init__(self, to: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.to = to

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        self.socket.sendto(data, self.to)

    async def receive(self) -> tuple[bytes, str]:
        """Give the next datagram and the address that it came from."""
        data, address = await asyncio.get_running_loop().sock_recvfrom(self.socket, 2048)
        return data, address[0]

    async def validate(self, ufrag: str) -> str:
        """Prove this address to be that of the peer with this ufrag; give the address that answered."""
        self.send(check(ufrag))
        data, address = await self.receive()
        assert parse_message(data).message_class == Class.RESPONSE
        return address


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    while not condition():  # noqa: ASYNC110  # what is waited for is a counter, there is no event to wait on
        await asyncio.sleep(0.001)
