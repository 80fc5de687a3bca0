"""Both ends of the UDP port in tests: a handler that keeps what it receives, and a client's socket."""

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
class CollectingPeer:
    """A peer that keeps its datagrams; `breaks` makes it raise, as an internal error would."""

    port: MediaPort
    ufrag: str
    media: list[bytes] = field(default_factory=list)
    dtls: list[bytes] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    arrivals_ns: list[int] = field(default_factory=list)
    breaks: bool = False
    before_srtp: Callable[[], None] = lambda: None
    flow: Flow = field(init=False)

    def __post_init__(self) -> None:
        self.flow = self.port.open(IceLite(self.ufrag, PASSWORD), self)

    def receive_dtls(self, data: bytes) -> None:
        """Keep a datagram of DTLS."""
        self.dtls.append(data)

    def fail(self, error: Exception) -> None:
        """Keep what was raised."""
        self.faults.append(error)

    def receive_srtp(self, size: int, now_ns: int) -> None:
        """Keep a datagram of media."""
        if self.breaks:
            raise KeyError(now_ns)
        self.before_srtp()
        self.arrivals_ns.append(now_ns)
        self.media.append(bytes(self.port.buffer.view[:size]))


def check(ufrag: str, password: str = PASSWORD) -> bytes:
    """Return a connectivity check that nominates."""
    message = Message(Method.BINDING, Class.REQUEST, attributes={"USERNAME": f"{ufrag}:peer", "USE-CANDIDATE": None})
    message.add_message_integrity(password.encode())
    return bytes(message)


class UdpClient:
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
        """Return the next datagram and the address that sent it."""
        data, address = await asyncio.get_running_loop().sock_recvfrom(self.socket, 2048)
        return data, address[0]

    async def validate(self, ufrag: str) -> str:
        """Validate this address for the peer with this ufrag; return the address that answered."""
        self.send(check(ufrag))
        data, address = await self.receive()
        assert parse_message(data).message_class == Class.RESPONSE
        return address


async def until(condition: Callable[[], object]) -> None:
    """Run the event loop until a condition holds."""
    while not condition():  # noqa: ASYNC110  # conditions are about counters, which have no event
        await asyncio.sleep(0.001)
