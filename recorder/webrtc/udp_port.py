"""One UDP port for all peers: a socket per local address, read in batches, demultiplexed by RFC 7983.

A socket waits for readiness while it is quiet. As soon as a datagram comes, it is taken off the selector and polled
every few milliseconds until it is empty again: wake-ups cost more than anything that is done with a packet, and a
recorder has no need of low latency. Nothing that a datagram holds can raise out of here: what is no packet of a peer
is counted and dropped, and a fault of our own in a peer's call ends that peer only.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.addresses import AddressError, plan_addresses
from rokuga.recorder.webrtc.ice_lite import MAGIC_COOKIE, IceLite, Path, StunError, read_binding_request
from rokuga.recorder.webrtc.local_sockets import bind_all
from rokuga.recorder.webrtc.sdp import Candidate
from rokuga.recorder.webrtc.srtp import DatagramBuffer

MAX_DATAGRAM_BYTES: Final = 2048
MAX_PATHS: Final = 8
"""Addresses that one peer may hold at a time; the least recently checked one goes."""
PATH_HELD_NS: Final = 10 * NS_PER_S
"""How long after its last check a peer's address cannot be claimed by another peer."""
POLL_S: Final = 0.01
"""Half of a tick: what is missing is asked for by ticks, and a batch twice as large costs half the wake-ups."""
BATCH_DATAGRAMS: Final = 256
"""Reading pauses after so many, so that the loop's other work is never kept waiting for long."""
ERROR_REPLIES_PER_S: Final = 100
"""STUN errors told to strangers; more of them would only be work that an attacker gives us."""
FAILED_CHECKS_PER_S: Final = 20
"""Checks without the right credentials that one address which is nobody's is heard for, of MAX_WATCHED ones."""
MAX_WATCHED: Final = 4096
MAX_QUEUED_DTLS: Final = 512
DTLS_PER_S: Final = 64
"""Datagrams of DTLS that one peer is heard for: a handshake has a dozen, and each costs as much as ten of media."""


@dataclass(slots=True)
class PortCounters:
    """What happened to datagrams since the start. `received` counts all of them.

    `srtp` and `srtp_bytes` are those from where a peer is; what of them was genuine is in `decrypted`
    and `decrypted_bytes`.
    """

    received: int = 0
    srtp: int = 0
    srtp_bytes: int = 0
    decrypted: int = 0
    decrypted_bytes: int = 0
    from_strangers: int = 0
    bad_size: int = 0
    bad_first_byte: int = 0
    bad_stun: int = 0
    contested: int = 0
    dtls_overflow: int = 0
    receive_errors: int = 0
    send_errors: int = 0
    faults: int = 0


class Flow:
    """One peer as the port sees it: where it is, and whom to call with what comes from there.

    `on_srtp` gets the size of the datagram in `port.buffer` and the time; `on_dtls` gets a copy. Both are called from
    the read of the socket. `reachable` is set once the peer has proved an address.
    """

    def __init__(
        self,
        port: "UdpPort",
        ice: IceLite,
        on_dtls: Callable[[bytes], None],
        on_srtp: Callable[[int, int], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        self.ice = ice
        self.on_dtls = on_dtls
        self.on_srtp = on_srtp
        self.on_fault = on_fault
        self.reachable = asyncio.Event()
        self.paths: dict[Path, None] = {}
        self.dtls_second = self.dtls_count = 0
        self._port = port

    def send(self, data: bytes) -> None:
        """Send to where the peer is; without a known path, or where the network refuses, it is lost."""
        if self.ice.path is not None:
            self._port.send(data, self.ice.path)

    def close(self) -> None:
        """Forget the peer; what still comes from it comes from a stranger."""
        self._port.forget(self)


@dataclass(slots=True)
class _LocalSocket:
    index: int
    socket: socket.socket
    flows: dict[tuple[str, int] | tuple[str, int, int, int], Flow] = field(default_factory=dict)
    poll: asyncio.TimerHandle | None = None


class UdpPort:
    """The port. An async context manager; `candidates` and `port` are known inside of it.

    Raises AddressError for a media address that cannot be used and OSError, with the address, for one that is taken.
    """

    def __init__(self, port: int = 0, media_addresses: Sequence[str] = (), clock: Clock | None = None) -> None:
        """Port 0 takes any free one, the same on every address. For `media_addresses` see `addresses.py`."""
        self.port = port
        self.candidates: Sequence[Candidate] = ()
        self.buffer = DatagramBuffer(MAX_DATAGRAM_BYTES + 1)
        self.counters = PortCounters()
        self._media_addresses = media_addresses
        self._monotonic_ns = (clock or Clock()).monotonic_ns
        self._sockets: list[_LocalSocket] = []
        self._flows: dict[bytes, Flow] = {}
        self._dtls: deque[tuple[Flow, bytes]] = deque()
        self._error_replies = 0
        self._failed_checks: dict[Path, int] = {}
        self._second = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        plan = await plan_addresses(self._media_addresses, self._resolve)
        for index, bound in enumerate(bind_all(plan.bind, self.port)):
            self._sockets.append(_LocalSocket(index, bound))
            self.port = bound.getsockname()[1]
        self.candidates = tuple(Candidate(address.host, address.port or self.port) for address in plan.offered)
        for local in self._sockets:
            self._loop.add_reader(local.socket, self._wake, local)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for local in self._sockets:
            if local.poll is not None:
                local.poll.cancel()
            else:
                self._loop.remove_reader(local.socket)
            local.socket.close()
        self._sockets.clear()
        self._flows.clear()
        self._dtls.clear()

    def open(
        self,
        ice: IceLite,
        on_dtls: Callable[[bytes], None],
        on_srtp: Callable[[int, int], None],
        on_fault: Callable[[Exception], None],
    ) -> Flow:
        """Take in a peer: from now on its checks are answered."""
        flow = self._flows[ice.ufrag] = Flow(self, ice, on_dtls, on_srtp, on_fault)
        return flow

    async def totals(self) -> Mapping[str, int | Mapping[str, int]]:
        """Give what is counted, by the names of the daemon's table of counters."""
        counters = self.counters
        reasons = ("from_strangers", "bad_size", "bad_first_byte", "bad_stun", "contested", "dtls_overflow")
        return {
            "datagrams": counters.received,
            "srtp_packets": counters.srtp,
            "srtp_bytes": counters.srtp_bytes,
            "decrypted_packets": counters.decrypted,
            "decrypted_bytes": counters.decrypted_bytes,
            "datagrams_dropped": {reason: getattr(counters, reason) for reason in reasons},
            "send_errors": counters.send_errors,
        }

    def forget(self, flow: Flow) -> None:
        """Take a peer out. Safe to repeat."""
        self._flows.pop(flow.ice.ufrag, None)
        for path in list(flow.paths):
            self._release(flow, path)

    def send(self, data: bytes, path: Path) -> None:
        """Send one datagram; it is lost where the network refuses it."""
        if path.socket >= len(self._sockets):
            return
        try:
            self._sockets[path.socket].socket.sendto(data, path.address)
        except OSError:
            self.counters.send_errors += 1

    def _wake(self, local: _LocalSocket) -> None:
        self._loop.remove_reader(local.socket)
        self._poll(local)

    def _poll(self, local: _LocalSocket) -> None:
        count = self._read_batch(local)
        if count:
            local.poll = self._loop.call_later(0 if count == BATCH_DATAGRAMS else POLL_S, self._poll, local)
        else:
            local.poll = None
            self._loop.add_reader(local.socket, self._wake, local)

    def _read_batch(self, local: _LocalSocket) -> int:
        """Read what has come; give the number of datagrams."""
        counters, data, flows = self.counters, self.buffer.data, local.flows
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
            if not 0 < size <= MAX_DATAGRAM_BYTES:
                counters.bad_size += 1
                continue
            first = data[0]
            if 127 < first < 192:
                flow = flows.get(address)
                if flow is None:
                    counters.from_strangers += 1
                    continue
                srtp += 1
                srtp_bytes += size
                try:
                    flow.on_srtp(size, now_ns)
                except Exception as error:  # our fault, told to the peer that it ends
                    self._fault(flow, error)
            elif first < 4:
                if data[4:8] != MAGIC_COOKIE:  # noise, told for a tenth of what an exception costs
                    counters.bad_stun += 1
                    continue
                self._on_stun(bytes(self.buffer.view[:size]), Path(local.index, address), now_ns)
            elif 19 < first < 64:
                self._on_dtls(flows.get(address), size, now_ns)
            else:
                counters.bad_first_byte += 1
        counters.received += count
        counters.srtp += srtp
        counters.srtp_bytes += srtp_bytes
        return count

    def _on_stun(self, data: bytes, path: Path, now_ns: int) -> None:
        self._count_anew_each_second(now_ns)
        failed = self._failed_checks
        if failed and failed.get(path, 0) >= FAILED_CHECKS_PER_S:
            self.counters.bad_stun += 1
            return
        try:
            request = read_binding_request(data)
            flow = self._flows.get(request.local_ufrag)
            if flow is None:
                self.counters.from_strangers += 1
                return
            if not self._may_claim(flow, path, now_ns):
                self.counters.contested += 1
                return
            tells_errors = self._error_replies < ERROR_REPLIES_PER_S
            reply = flow.ice.answer(data, request, path, now_ns, tells_errors=tells_errors)
        except StunError:
            self.counters.bad_stun += 1
            return
        if reply.authenticated:
            self._claim(flow, path)
        else:
            self._failed(path)
        if reply.data:
            self.send(reply.data, path)

    def _count_anew_each_second(self, now_ns: int) -> None:
        second = now_ns // NS_PER_S
        if second != self._second:
            self._second, self._error_replies = second, 0
            self._failed_checks.clear()

    def _failed(self, path: Path) -> None:
        """Count a check that proved nothing. A peer's own address is always heard: its source may be forged."""
        self.counters.bad_stun += 1
        self._error_replies += 1
        if path.address not in self._sockets[path.socket].flows and len(self._failed_checks) < MAX_WATCHED:
            self._failed_checks[path] = self._failed_checks.get(path, 0) + 1

    def _may_claim(self, flow: Flow, path: Path, now_ns: int) -> bool:
        """Whether the address is free: a peer with credentials must not take a living peer's by a forged source."""
        holder = self._sockets[path.socket].flows.get(path.address)
        return holder is None or holder is flow or now_ns - holder.ice.last_check_ns > PATH_HELD_NS

    def _claim(self, flow: Flow, path: Path) -> None:
        flows = self._sockets[path.socket].flows
        holder = flows.get(path.address)
        if holder is not flow:
            if holder is not None:
                self._release(holder, path)
            flows[path.address] = flow
        flow.paths.pop(path, None)
        flow.paths[path] = None
        if len(flow.paths) > MAX_PATHS:
            self._release(flow, next(old for old in flow.paths if old != flow.ice.path))
        flow.reachable.set()

    def _release(self, flow: Flow, path: Path) -> None:
        del flow.paths[path]
        flow.ice.forget(path)
        if path.socket < len(self._sockets):
            self._sockets[path.socket].flows.pop(path.address, None)

    def _on_dtls(self, flow: Flow | None, size: int, now_ns: int) -> None:
        if flow is None:
            self.counters.from_strangers += 1
            return
        second = now_ns // NS_PER_S
        if second != flow.dtls_second:
            flow.dtls_second, flow.dtls_count = second, 0
        flow.dtls_count += 1
        if flow.dtls_count > DTLS_PER_S or len(self._dtls) >= MAX_QUEUED_DTLS:
            self.counters.dtls_overflow += 1
            return
        self._dtls.append((flow, bytes(self.buffer.view[:size])))
        if len(self._dtls) == 1:
            self._loop.call_soon(self._hand_over_dtls)

    def _hand_over_dtls(self) -> None:
        """Hand over one datagram a turn of the loop: a handshake step takes milliseconds, and reading comes first."""
        if not self._dtls:
            return
        flow, data = self._dtls.popleft()
        try:
            flow.on_dtls(data)
        except Exception as error:  # our fault, told to the peer that it ends
            self._fault(flow, error)
        if self._dtls:
            self._loop.call_soon(self._hand_over_dtls)

    def _fault(self, flow: Flow, error: Exception) -> None:
        self.counters.faults += 1
        self.forget(flow)
        flow.on_fault(error)

    async def _resolve(self, host: str) -> Sequence[str]:
        try:
            found = await self._loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise AddressError(f"the media address {host!r} cannot be found: {error}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))
