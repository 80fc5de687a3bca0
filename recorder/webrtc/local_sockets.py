"""The UDP sockets of the one port: the same number on every address, not blocking, with a large buffer."""

import errno
import socket
from collections.abc import Sequence
from typing import Final

import structlog

from rokuga.recorder.webrtc.addresses import family_of

log = structlog.get_logger()

RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
MAX_TRIES: Final = 20


def bind_all(hosts: Sequence[str], port: int) -> Sequence[socket.socket]:
    """Bind the same port on all addresses, 0 for any free one. Raises OSError, which names the address."""
    for _ in range(MAX_TRIES):
        bound: list[socket.socket] = []
        try:
            for host in hosts:
                bound.append(_bind(host, bound[0].getsockname()[1] if bound else port))
        except OSError as error:
            for opened in bound:
                opened.close()
            if port == 0 and bound and error.errno == errno.EADDRINUSE:
                continue  # free on the first address, taken on another: try another number
            raise
        _tell_small_buffer(bound[0])
        return bound
    raise OSError(errno.EADDRINUSE, f"no UDP port is free on all of {', '.join(hosts)}")


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(family_of(host), socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"UDP port {port} on {host}: {error.strerror}") from error
    return bound


def _tell_small_buffer(bound: socket.socket) -> None:
    """Linux reports twice what it gives (socket(7))."""
    given = bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if given < RECEIVE_BUFFER_BYTES:
        log.warning(
            "the kernel gives a small receive buffer; bursts of many publishers may lose packets",
            given_bytes=given,
            asked_bytes=RECEIVE_BUFFER_BYTES,
            remedy=f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}",
        )
