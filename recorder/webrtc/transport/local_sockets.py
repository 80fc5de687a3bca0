"""Opens the sockets of the media port: the same number on every address, non-blocking, UDP with a large buffer."""

import contextlib
import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from rokuga.recorder.webrtc.transport.addresses import family_of

log = structlog.get_logger()

RECEIVE_BUFFER_BYTES: Final = 16 * 1024 * 1024
"""Requested size: 0.6 s of 200 publishers, in case the event loop is busy while they start."""
ENOUGH_BYTES: Final = 4 * 1024 * 1024
"""Enough for a hundred publishers; with less there is a warning."""
SO_RCVBUFFORCE: Final = 33
"""Linux's number, which Python does not name: exceeds `net.core.rmem_max`, with CAP_NET_ADMIN (socket(7))."""
TCP_BACKLOG: Final = 128
MAX_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class LocalSockets:
    """Sockets in the order of the addresses; `tcp` are listeners, none where TCP is off."""

    udp: Sequence[socket.socket]
    tcp: Sequence[socket.socket]


def bind_all(hosts: Sequence[str], port: int, *, with_tcp: bool = False) -> LocalSockets:
    """Bind the same port on all addresses; 0 is any free one. Raises OSError, which names the address."""
    wanted = [(kind, host) for kind in ((_udp, _tcp) if with_tcp else (_udp,)) for host in hosts]
    for _ in range(MAX_TRIES):
        bound: list[socket.socket] = []
        try:
            for bind, host in wanted:
                bound.append(bind(host, bound[0].getsockname()[1] if bound else port))
        except OSError as error:
            for opened in bound:
                opened.close()
            if port == 0 and bound and error.errno == errno.EADDRINUSE:
                continue  # free on the first address, in use on another: try another number
            raise
        _warn_of_small_buffer(bound[0])
        return LocalSockets(bound[: len(hosts)], bound[len(hosts) :])
    raise OSError(errno.EADDRINUSE, f"no port is free on all of {', '.join(hosts)}")


def bind_one(host: str, port: int, *, with_tcp: bool) -> LocalSockets:
    """Bind the port on one more address. Raises OSError, which names the address."""
    udp = _udp(host, port)
    try:
        return LocalSockets([udp], [_tcp(host, port)] if with_tcp else [])
    except OSError:
        udp.close()
        raise


def _udp(host: str, port: int) -> socket.socket:
    bound = socket.socket(family_of(host), socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        with contextlib.suppress(OSError):  # forcing needs CAP_NET_ADMIN
            bound.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
    return _bound(bound, host, port, "UDP")


def _tcp(host: str, port: int) -> socket.socket:
    """Return a listener, with the protocol number: without it asyncio does not set TCP_NODELAY."""
    bound = socket.socket(family_of(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(bound, host, port, "TCP")


def _bound(opened: socket.socket, host: str, port: int, protocol: str) -> socket.socket:
    try:
        opened.setblocking(False)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((host, port))
        if opened.type == socket.SOCK_STREAM:
            opened.listen(TCP_BACKLOG)
    except OSError as error:
        opened.close()
        raise OSError(error.errno, f"{protocol} port {port} on {host}: {error.strerror}") from error
    return opened


def _warn_of_small_buffer(bound: socket.socket) -> None:
    """Warn where the kernel limits the buffer. Linux reports twice the size (socket(7))."""
    size = bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if size < ENOUGH_BYTES:
        log.warning(
            "small receive buffer, packets may be lost with many publishers",
            size_bytes=size,
            enough_bytes=ENOUGH_BYTES,
            remedy=f"sysctl -w net.core.rmem_max={ENOUGH_BYTES}",
        )
