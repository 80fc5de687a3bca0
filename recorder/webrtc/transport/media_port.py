"""The media port: one port number for all peers, on every local address, as addresses are added and removed."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import structlog

from rokuga.recorder.background import background
from rokuga.recorder.clock import Clock
from rokuga.recorder.webrtc.ice.ice_lite import Address, IceLite, TransportPath
from rokuga.recorder.webrtc.pending_peers import PendingPeers
from rokuga.recorder.webrtc.sdp.offer_and_answer import TRANSPORTS, Candidate
from rokuga.recorder.webrtc.transport.addresses import AddressError, AddressPlan, host_addresses, plan_addresses
from rokuga.recorder.webrtc.transport.demultiplexer import Demultiplexer
from rokuga.recorder.webrtc.transport.flow import DatagramHandler, Flow
from rokuga.recorder.webrtc.transport.local_sockets import LocalSockets, bind_all, bind_one
from rokuga.recorder.webrtc.transport.tcp_port import TcpPort
from rokuga.recorder.webrtc.transport.udp_port import UdpPort

log = structlog.get_logger()

RESCAN_S: Final = 2.0
"""Interval at which the host's addresses are read."""


class MediaPort:
    """The media port, an async context manager. Inside, `candidates` are the current ones and `port` is the number.

    Entering raises AddressError for a media address that cannot be used, OSError naming one that is already in use.
    """

    def __init__(
        self,
        port: int = 0,
        media_addresses: Sequence[str] = (),
        clock: Clock | None = None,
        *,
        with_tcp: bool = False,
    ) -> None:
        """Port 0 is any free one, the same on every address. For `media_addresses` see `addresses.py`.

        `with_tcp` also listens on the TCP port of the same number, for peers whose UDP is blocked (RFC 6544).
        """
        self.port = port
        self.is_loopback_only = False
        self._with_tcp = with_tcp
        self.candidates: Sequence[Candidate] = ()
        self.pending = PendingPeers()
        self._media_addresses = media_addresses
        self._now = (clock or Clock()).monotonic_ns
        self._demultiplexer = Demultiplexer(self._send)
        self.buffer = self._demultiplexer.buffer
        self.counters = self._demultiplexer.counters
        self._checks = self._demultiplexer.checks
        self._udp = UdpPort(self._demultiplexer, self._now)
        self._tcp = TcpPort(self._demultiplexer, self._now)
        self._senders: list[Callable[..., object]] = []
        self._bound: dict[str, Sequence[int]] = {}
        self._refused: dict[str, str] = {}
        self._plan = AddressPlan((), ())
        self._hosts: Sequence[str] = ()
        self._has_none = False
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._hosts = host_addresses()
        self._plan = await plan_addresses(self._media_addresses, _resolve, self._hosts)
        bound = bind_all(self._plan.bind, self.port, with_tcp=self._with_tcp)
        self.port = bound.udp[0].getsockname()[1]
        await self._stack.enter_async_context(self._udp)
        await self._stack.enter_async_context(self._tcp)
        for index, host in enumerate(self._plan.bind):
            await self._add(host, LocalSockets(bound.udp[index : index + 1], bound.tcp[index : index + 1]))
        self._offer()
        await self._stack.enter_async_context(background(self._rescan_regularly()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._senders = []
        self._demultiplexer.close()
        await self._stack.aclose()

    async def _rescan_regularly(self) -> None:
        while True:
            await asyncio.sleep(RESCAN_S)
            try:
                await self.rescan()
            except OSError as error:  # too many open files
                self._warn("rescan", str(error))
            except Exception:
                log.exception("internal error, media addresses are read again later")

    async def rescan(self) -> None:
        """Read the host's addresses again: bind and offer new ones, withdraw those that were removed.

        A socket whose address was removed or deprecated is closed once no peer uses it. Host names in the
        configuration are resolved again when the host's addresses have changed.
        """
        hosts = host_addresses()
        if hosts != self._hosts:
            try:
                self._plan = await plan_addresses(self._media_addresses, _resolve, hosts)
            except AddressError as error:
                self._warn("media_address", str(error))
                return
            self._hosts = hosts
        for host in self._plan.bind:
            if host not in self._bound:
                await self._bind(host)
        for host, indexes in list(self._bound.items()):
            if host not in self._plan.bind and not any(self._checks.flows_of(index) for index in indexes):
                await self._close(host)
        self._offer()

    async def _bind(self, host: str) -> None:
        """Bind the port on a new address; the next rescan retries where that fails."""
        try:
            await self._add(host, bind_one(host, self.port, with_tcp=self._with_tcp))
        except OSError as error:
            self._warn(host, str(error))
        else:
            self._refused.pop(host, None)

    async def _add(self, host: str, bound: LocalSockets) -> None:
        indexes = []
        for udp in bound.udp:
            indexes.append(len(self._senders))
            self._senders.append(udp.sendto)
            self._udp.add(udp, indexes[-1])
        for tcp in bound.tcp:
            indexes.append(len(self._senders))
            self._senders.append(await self._tcp.add(tcp, indexes[-1]))
        self._bound[host] = indexes

    async def _close(self, host: str) -> None:
        udp, *tcp = self._bound.pop(host)
        self._udp.remove(udp)
        for index in tcp:
            await self._tcp.remove(index)
        for index in (udp, *tcp):
            self._senders[index] = _closed

    def _offer(self) -> None:
        """Update the candidates, and log changes."""
        candidates = tuple(
            Candidate(address.host, address.port or self.port, protocol)
            for protocol in (TRANSPORTS if self._with_tcp else ("udp",))
            for address in self._plan.candidates(self._bound)
        )
        self._has_none = not candidates
        if not candidates:  # the old ones remain, since an offer needs an address; `probe` reports it
            return
        if self.candidates not in (candidates, ()):
            log.info("media addresses changed", offered=list(dict.fromkeys(each.host for each in candidates)))
        self.candidates = candidates
        is_loopback_only = self._plan.is_loopback_only
        if is_loopback_only and not self.is_loopback_only:
            log.warning("no address but loopback, other machines cannot send media")
        self.is_loopback_only = is_loopback_only

    def _warn(self, what: str, reason: str) -> None:
        if self._refused.get(what) != reason:
            self._refused[what] = reason
            log.warning("media address unusable", reason=reason)

    async def probe(self) -> str | None:
        """Return the reason why other machines cannot send media, None if they can."""
        if self._has_none:
            return f"port {self.port} cannot be had on any address: {', '.join(self._refused.values())}"
        if self.is_loopback_only:
            return "this host has no address but loopback, and media_address is not set"
        return None

    def open(self, ice: IceLite, handler: DatagramHandler) -> Flow:
        """Add a peer: its checks are answered from now on, and `handler` receives its datagrams."""
        flow = Flow(ice, handler, send=self._send, remove=self._checks.remove)
        self._checks.add(flow)
        return flow

    @property
    def peers(self) -> int:
        """The number of peers whose flow is open."""
        return len(self._checks)

    def read(self) -> None:
        """Read the datagrams that have arrived by UDP since the last poll."""
        self._udp.read()

    async def totals(self) -> Mapping[str, int | Mapping[str, int]]:
        """Return the counters by their names in `/metrics`."""
        counters = self.counters
        reasons = ("unauthenticated", "bad_size", "bad_first_byte", "bad_stun", "contested", "dtls_overflow")
        return {
            "datagrams": counters.received,
            "srtp_packets": counters.srtp,
            "srtp_bytes": counters.srtp_bytes,
            "decrypted_packets": counters.decrypted,
            "decrypted_bytes": counters.decrypted_bytes,
            "datagrams_dropped": {
                **{reason: getattr(counters, reason) for reason in reasons},
                "receive_buffer": self._udp.overflows,
            },
            "media_connections": {"taken": counters.connections, "refused": counters.refused},
            "send_errors": counters.send_errors,
            "peers_pending": len(self.pending),
            "peers_evicted": self.pending.evicted,
        }

    def _send(self, data: bytes, path: TransportPath) -> None:
        """Send a datagram; it is lost where the network refuses it."""
        if path.socket >= len(self._senders):
            return
        try:
            self._senders[path.socket](data, path.address)
        except OSError:
            self.counters.send_errors += 1


def _closed(_data: bytes, _address: Address) -> None:
    raise OSError(errno.EADDRNOTAVAIL, "the socket is closed")


async def _resolve(host: str) -> Sequence[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise AddressError(f"the media address {host!r} cannot be found: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
