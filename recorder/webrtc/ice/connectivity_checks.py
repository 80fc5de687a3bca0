"""Who is where: connectivity checks are answered, and an authenticated one makes its source the peer's own.

What proves nothing has budgets, since an answer costs us more than it costs its sender, and a look at it as much. A
stranger beyond its budget is not heard. A peer's own address is, because anyone may forge its source and could end
its consent otherwise: beyond the budget the integrity comes first, and nothing else is done for what is not signed.
"""

from collections.abc import Callable
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.ice.ice_lite import Address, StunError, TransportPath, read_binding_request
from rokuga.recorder.webrtc.transport.flow import Flow, PortCounters

MAX_PATHS: Final = 8
"""Addresses that one peer may hold at a time; the least recently checked one goes."""
PATH_HELD_NS: Final = 10 * NS_PER_S
"""How long after its last check a peer's address cannot be claimed by another peer."""
ERROR_REPLIES_PER_S: Final = 100
"""STUN errors told to strangers; more of them would only be work that an attacker gives us."""
FAILED_CHECKS_PER_S: Final = 20
"""What is no check, for nobody or without the right credentials, that one address is heard for; of MAX_WATCHED ones
that are nobody's."""
MAX_WATCHED: Final = 4096


class ConnectivityChecks:
    """All peers: by ufrag before they have proved an address, by path afterwards."""

    def __init__(self, counters: PortCounters, send: Callable[[bytes, TransportPath], None]) -> None:
        self._counters = counters
        self._send = send
        self._flows: dict[bytes, Flow] = {}
        self._at: dict[int, dict[Address, Flow]] = {}
        self._error_replies = 0
        self._failed: dict[tuple[int, Address], int] = {}
        self._second = 0

    def add(self, flow: Flow) -> None:
        """Take in a peer: from now on its checks are answered."""
        self._flows[flow.ice.ufrag] = flow

    def forget(self, flow: Flow) -> None:
        """Take a peer out. Safe to repeat."""
        self._flows.pop(flow.ice.ufrag, None)
        for path in list(flow.paths):
            self._release(flow, path)

    def clear(self) -> None:
        """Forget all peers."""
        self._flows.clear()

    def at(self, socket: int) -> dict[Address, Flow]:
        """Give the peers of one of our sockets by their addresses: always the same mapping, to be read only."""
        return self._at.setdefault(socket, {})

    def lose(self, path: TransportPath) -> None:
        """Say that a path is no more."""
        flow = self.at(path.socket).get(path.address)
        if flow is not None:
            self._release(flow, path)

    def take(self, data: bytes, socket: int, address: Address, now_ns: int) -> None:
        """Take a datagram that has STUN's first byte and cookie, and came from an address to a socket of ours."""
        second = now_ns // NS_PER_S
        if second != self._second:
            self._second, self._error_replies = second, 0
            self._failed.clear()
        holder = self._at[socket].get(address)
        if holder is not None and now_ns - holder.ice.last_check_ns > PATH_HELD_NS:
            holder = None
        failed = self._failed.get((socket, address), 0)
        if failed >= FAILED_CHECKS_PER_S and not (holder and holder.ice.has_signed(data)):
            self._counters.bad_stun += 1
            return
        path = TransportPath(socket, address)
        try:
            request = read_binding_request(data)
            flow = self._flows.get(request.local_ufrag)
            if flow is None:
                self._counters.from_strangers += 1
                self._fail(path, holder)
                return
            if holder is not None and holder is not flow:  # credentials must not take a living peer's address
                self._counters.contested += 1
                return
            tells_errors = self._error_replies < ERROR_REPLIES_PER_S
            reply = flow.ice.answer(data, request, path, now_ns, tells_errors=tells_errors)
        except StunError:
            self._counters.bad_stun += 1
            self._fail(path, holder)
            return
        if reply.authenticated:
            self._claim(flow, path)
        else:
            self._counters.bad_stun += 1
            self._error_replies += 1
            self._fail(path, holder)
        if reply.data:
            self._send(reply.data, path)

    def _fail(self, path: TransportPath, holder: Flow | None) -> None:
        """Count against an address that what came from it was of no use."""
        if holder is not None or len(self._failed) < MAX_WATCHED:
            self._failed[path] = self._failed.get(path, 0) + 1

    def _claim(self, flow: Flow, path: TransportPath) -> None:
        flows = self._at[path.socket]
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

    def _release(self, flow: Flow, path: TransportPath) -> None:
        del flow.paths[path]
        flow.ice.forget(path)
        self._at[path.socket].pop(path.address, None)
