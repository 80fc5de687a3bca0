"""One port number for all peers, on every local address."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rokuga.recorder.clock import Clock
from rokuga.recorder.webrtc.addresses import AddressError, plan_addresses
from rokuga.recorder.webrtc.demultiplexer import Demultiplexer
from rokuga.recorder.webrtc.flow import Flow
from rokuga.recorder.webrtc.ice_lite import IceLite, Path
from rokuga.recorder.webrtc.local_sockets import bind_all
from rokuga.recorder.webrtc.pending_peers import PendingPeers
from rokuga.recorder.webrtc.sdp import TRANSPORTS, Candidate
from rokuga.recorder.webrtc.tcp_port import TcpPort
from rokuga.recorder.webrtc.udp_port import UdpPort


class MediaPort:
    """The port. An async context manager; `candidates` and `port` are known inside of it.

    Raises AddressError for a media address that cannot be used and OSError, with the address, for one that is taken.
    """

    def __init__(
        self,
        port: int = 0,
        media_addresses: Sequence[str] = (),
        clock: Clock | None = None,
        *,
        with_tcp: bool = False,
    ) -> None:
        """Port 0 takes any free one, the same on every address. For `media_addresses` see `addresses.py`.

        `with_tcp` listens on TCP's port of the same number too, for peers that UDP does not reach (RFC 6544).
        """
        self.port = port
        self._with_tcp = with_tcp
        self.candidates: Sequence[Candidate] = ()
        self.pending = PendingPeers()
        self._media_addresses = media_addresses
        self._now = (clock or Clock()).monotonic_ns
        self._demultiplexer = Demultiplexer(self._send)
        self.buffer = self._demultiplexer.buffer
        self.counters = self._demultiplexer.counters
        self._checks = self._demultiplexer.checks
        self._udp = UdpPort((), self._demultiplexer, self._now)
        self._tcp = TcpPort((), self._demultiplexer, self._now, first_index=0)
        self._senders: list[Callable[..., object]] = []
        self._sockets = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        plan = await plan_addresses(self._media_addresses, _resolve)
        bound = bind_all(plan.bind, self.port, with_tcp=self._with_tcp)
        self.port = bound.udp[0].getsockname()[1]
        self._udp = UdpPort(bound.udp, self._demultiplexer, self._now)
        self._tcp = TcpPort(bound.tcp, self._demultiplexer, self._now, first_index=len(bound.udp))
        self.candidates = tuple(
            Candidate(address.host, address.port or self.port, protocol)
            for protocol in (TRANSPORTS if self._with_tcp else ("udp",))
            for address in plan.offered
        )
        self._senders = [*(each.sendto for each in bound.udp), *self._tcp.senders]
        await self._sockets.enter_async_context(self._udp)
        await self._sockets.enter_async_context(self._tcp)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._senders = []
        self._demultiplexer.close()
        await self._sockets.aclose()

    def open(
        self,
        ice: IceLite,
        on_dtls: Callable[[bytes], None],
        on_srtp: Callable[[int, int], None],
        on_fault: Callable[[Exception], None],
    ) -> Flow:
        """Take in a peer: from now on its checks are answered."""
        flow = Flow(ice, on_dtls, on_srtp, on_fault, send=self._send, forget=self._checks.forget)
        self._checks.add(flow)
        return flow

    def read(self) -> None:
        """Take in what has come and was not read yet."""
        self._udp.read()

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
            "datagrams_dropped": {
                **{reason: getattr(counters, reason) for reason in reasons},
                "receive_buffer": self._udp.overflows,
            },
            "media_connections": {"taken": counters.connections, "refused": counters.refused},
            "send_errors": counters.send_errors,
            "peers_pending": len(self.pending),
            "peers_evicted": self.pending.evicted,
        }

    def _send(self, data: bytes, path: Path) -> None:
        """Send one datagram; it is lost where the network refuses it."""
        if path.socket >= len(self._senders):
            return
        try:
            self._senders[path.socket](data, path.address)
        except OSError:
            self.counters.send_errors += 1


async def _resolve(host: str) -> Sequence[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise AddressError(f"the media address {host!r} cannot be found: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
