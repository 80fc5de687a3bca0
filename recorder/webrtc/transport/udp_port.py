"""The UDP sockets of the media port, read in batches.

An idle socket is registered with the selector. When a datagram arrives, it is unregistered and polled until it is
empty again, because a wake-up costs more than processing a packet, and a recorder does not need low latency. Polls
share the wake-ups of the ticks, and are more frequent where the kernel's buffer would fill meanwhile.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from rokuga.recorder.clock import until_tick_s
from rokuga.recorder.webrtc.ice.ice_lite import Address
from rokuga.recorder.webrtc.transport.demultiplexer import Demultiplexer
from rokuga.recorder.webrtc.transport.flow import Flow

LEAST_POLL_S: Final = 0.002
FILLED_SHARE: Final = 4
"""The pause between polls is such that a quarter of the kernel's buffer is filled meanwhile."""
DATAGRAM_TRUESIZE: Final = 2304
"""Bytes that the kernel accounts for a datagram of up to 1,500 bytes, its own structures included."""
BATCH_DATAGRAMS: Final = 256
"""Datagrams read before the event loop continues with other work."""


@dataclass(slots=True)
class _LocalSocket:
    index: int
    socket: socket.socket
    flows: dict[Address, Flow]
    batch: int
    """Datagrams that fill a quarter of the kernel's buffer."""
    read_s: float = 0
    poll: asyncio.TimerHandle | None = None


SO_MEMINFO: Final = 55
DROPS_OFFSET: Final = 32
"""SO_MEMINFO returns nine numbers; the last counts dropped datagrams (SK_MEMINFO_DROPS of linux/sock_diag.h)."""


class UdpPort:
    """The sockets, by their index in a transport path; read while the context is open, and closed at its end."""

    def __init__(self, demultiplexer: Demultiplexer, monotonic_ns: Callable[[], int]) -> None:
        self._demultiplexer = demultiplexer
        self._monotonic_ns = monotonic_ns
        self._is_reading = False
        self._sockets: list[_LocalSocket] = []
        self._closed_overflows = 0

    @property
    def overflows(self) -> int:
        """Datagrams that the kernel has dropped since the start because a receive buffer was full."""
        return self._closed_overflows + sum(_drops(local.socket) for local in self._sockets)

    def read(self) -> None:
        """Read what has arrived since the last poll, a full batch at most; nothing during a read."""
        if not self._is_reading:
            for local in self._sockets:
                self._read(local)

    def add(self, bound: socket.socket, index: int) -> None:
        """Read one more socket. Requires the open context."""
        local = _LocalSocket(index, bound, self._demultiplexer.checks.flows_of(index), _batch(bound))
        self._sockets.append(local)
        self._loop.add_reader(bound, self._wake, local)

    def remove(self, index: int) -> None:
        """Close a socket."""
        for local in [each for each in self._sockets if each.index == index]:
            self._sockets.remove(local)
            self._closed_overflows += _drops(local.socket)
            if local.poll is not None:
                local.poll.cancel()
            else:
                self._loop.remove_reader(local.socket)
            local.socket.close()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for local in list(self._sockets):
            self.remove(local.index)

    def _wake(self, local: _LocalSocket) -> None:
        self._loop.remove_reader(local.socket)
        self._poll(local)

    def _poll(self, local: _LocalSocket) -> None:
        count = self._read(local)
        if count == BATCH_DATAGRAMS:
            local.poll = self._loop.call_later(0, self._poll, local)
        elif count:
            now_s = self._loop.time()
            pause = min(pause_s(local.batch, count, now_s - local.read_s), until_tick_s(now_s))
            local.read_s = now_s
            local.poll = self._loop.call_later(pause, self._poll, local)
        else:
            local.poll = None
            self._loop.add_reader(local.socket, self._wake, local)

    def _read(self, local: _LocalSocket) -> int:
        self._is_reading = True
        try:
            return self._read_batch(local)
        finally:
            self._is_reading = False

    def _read_batch(self, local: _LocalSocket) -> int:
        """Read what has arrived, at most BATCH_DATAGRAMS; return the number of datagrams."""
        demultiplexer, index, flows = self._demultiplexer, local.index, local.flows
        counters, data = demultiplexer.counters, demultiplexer.buffer.data
        receive = local.socket.recvfrom_into
        monotonic_ns = self._monotonic_ns
        count = 0
        while count < BATCH_DATAGRAMS:
            try:
                size, address = receive(data)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error about a datagram that we sent
                counters.receive_errors += 1
                count += 1
                break
            count += 1
            # The clock is read for each: a batch may take long, and nothing may arrive before it was sent.
            demultiplexer.receive(size, flows, index, address, monotonic_ns())
        counters.received += count
        return count


def pause_s(batch: int, count: int, elapsed_s: float) -> float:
    """Return the time in which `batch` datagrams arrive, where `count` arrived in `elapsed_s`."""
    return max(batch * max(elapsed_s, LEAST_POLL_S) / count, LEAST_POLL_S)


def _batch(bound: socket.socket) -> int:
    """Return the datagrams that fill a share of a socket's buffer.

    Linux reports twice the size that was requested, and accounts by that (socket(7)).
    """
    return max(bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // DATAGRAM_TRUESIZE // FILLED_SHARE, 1)


def _drops(bound: socket.socket) -> int:
    try:
        numbers = bound.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, DROPS_OFFSET + 4)
    except OSError:  # not Linux, or closed
        return 0
    return int.from_bytes(numbers[DROPS_OFFSET : DROPS_OFFSET + 4], sys.byteorder)
