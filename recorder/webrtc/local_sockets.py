"""The UDP sockets of the one port: the same number on every address, not blocking, with a large buffer."""

import errno
import socket
from collections.abc import Sequence
from typing import Final

import structlog

from rokuga.recorder.webrtc.addresses import AddressPlan, family_of

log = structlog.get_logger()

RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024


def bind_all(plan: AddressPlan, port: int) -> Sequence[socket.socket]:
    """Bind the same port on all addresses, 0 for any free one. Raises OSError, which names the address.

    An address that the host lists but does not let be bound (IPv6 being set up) is left out with a warning.
    """
    for _ in range(20):
        bound: list[socket.socket] = []
        number = port
        try:
            for host in plan.bind:
                try:
                    bound.append(_bind(host, number))
                except OSError as error:
                    if error.errno == errno.EADDRNOTAVAIL and host not in plan.required:
                        log.warning("address cannot be bound", address=host, error=str(error))
                        continue
                    raise
                number = bound[-1].getsockname()[1]
        except OSError as error:
            for opened in bound:
                opened.close()
            if port == 0 and bound and error.errno == errno.EADDRINUSE:
                continue  # free on the first address, taken on another: try another number
            raise
        if bound:
            _tell_small_buffer(bound[0])
            return bound
        break
    raise OSError(errno.EADDRNOTAVAIL, f"no address can be bound to UDP port {port}: {', '.join(plan.bind)}")


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
