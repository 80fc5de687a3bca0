"""The UDP sockets of the media port, read in batches.

A socket waits for readiness while it is quiet. As soon as a datagram comes, it is taken off the selector and polled
until it is empty again: wake-ups cost more than anything that is done with a packet, and a recorder has no need of
low latency. Polls come at the ticks, with which they share a wake-up, and more often where so much comes that the
kernel's buffer would fill.

What did not pay (2026-11-25): reading a whole batch before any of it is looked at, one publisher after the other (at
100 publishers 3.36 ms a publisher and second against 3.31); recvmmsg by cffi (2.5 us a datagram against 2.6).
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
from rokuga.recorder.webrtc.transport.demultiplexer import MAX_DATAGRAM_BYTES, Demultiplexer
from rokuga.recorder.webrtc.transport.flow import Flow

LEAST_POLL_S: Final = 0.002
FILLED_SHARE: Final = 4
"""Read so often that a quarter of the kernel's buffer is filled at a time."""
DATAGRAM_TRUESIZE: Final = 2304
"""What the kernel counts for a datagram of up to 1,500 bytes, its own structures included."""
BATCH_DATAGRAMS: Final = 256
"""Reading pauses after so many, so that the loop's other work is never kept waiting for long."""


@dataclass(slots=True)
class _LocalSocket:
    index: int
    socket: socket.socket
    flows: dict[Address, Flow]
    batch: int
    """So many datagrams at a time leave the kernel room for more."""
    read_s: float = 0
    poll: asyncio.TimerHandle | None = None


SO_MEMINFO: Final = 55
DROPS_AT: Final = 32
"""Nine numbers of a socket's memory; the last counts its drops (SK_MEMINFO_DROPS of linux/sock_diag.h)."""


class UdpPort:
    """The sockets, by the index that names them in a path, read while the context is open and then closed."""

    def __init__(self, demultiplexer: Demultiplexer, monotonic_ns: Callable[[], int]) -> None:
        self._demultiplexer = demultiplexer
        self._monotonic_ns = monotonic_ns
        self._reads = False
        self._sockets: list[_LocalSocket] = []
        self._closed_overflows = 0

    @property
    def overflows(self) -> int:
        """How many datagrams the kernel has dropped since the start, for want of room in the receive buffers."""
        return self._closed_overflows + sum(_drops(local.socket) for local in self._sockets)

    def read(self) -> None:
        """Read what has come since the last poll, a full batch at most. Nothing where a read is under way."""
        if not self._reads:
            for local in self._sockets:
                self._read(local)

    def add(self, bound: socket.socket, index: int) -> None:
        """Read one more socket; the context is open."""
        local = _LocalSocket(index, bound, self._demultiplexer.checks.at(index), _batch(bound))
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
        self._reads = True
        try:
            return self._read_batch(local)
        finally:
            self._reads = False

    def _read_batch(self, local: _LocalSocket) -> int:
        """Read what has come; give the number of datagrams. Media takes the short way past the demultiplexer."""
        demultiplexer = self._demultiplexer
        counters, data, flows = demultiplexer.counters, demultiplexer.buffer.data, local.flows
        receive = local.socket.recvfrom_into
        monotonic_ns = self._monotonic_ns
        count = srtp = srtp_bytes = 0
        while count < BATCH_DATAGRAMS:
            try:
                size, address = receive(data)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error about something we sent
                counters.receive_errors += 1
                count += 1
                break
            now_ns = monotonic_ns()  # for each: a batch may take long, and nothing may arrive before it was sent
            count += 1
            if 127 < data[0] < 192 and 0 < size <= MAX_DATAGRAM_BYTES:
                flow = flows.get(address)
                if flow is not None:
                    srtp += 1
                    srtp_bytes += size
                    try:
                        flow.on_srtp(size, now_ns)
                    except Exception as error:  # our fault, told to the peer that it ends
                        demultiplexer.fault(flow, error)
                    continue
            demultiplexer.take(size, local.index, address, now_ns)
        counters.received += count
        counters.srtp += srtp
        counters.srtp_bytes += srtp_bytes
        return count


def pause_s(batch: int, count: int, elapsed_s: float) -> float:
    """Give how long it takes until `batch` datagrams wait, where `count` came in the time that has passed."""
    return max(batch * max(elapsed_s, LEAST_POLL_S) / count, LEAST_POLL_S)


def _batch(bound: socket.socket) -> int:
    """Linux tells twice what was asked for, and counts by that (socket(7))."""
    return max(bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // DATAGRAM_TRUESIZE // FILLED_SHARE, 1)


def _drops(bound: socket.socket) -> int:
    try:
        told = bound.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, DROPS_AT + 4)
    except OSError:  # no Linux, or closed
        return 0
    return int.from_bytes(told[DROPS_AT : DROPS_AT + 4], sys.byteorder)
