"""Answers connectivity checks; an authenticated one validates its source address as a transport path of the peer.

Checks that fail have budgets, since answering and even parsing one costs more than sending it. Beyond the budget an
unauthenticated address is ignored. A validated address is not, because anybody can forge its source address and could
end the peer's consent: beyond the budget its checks are parsed only where MESSAGE-INTEGRITY is right.
"""

from collections.abc import Callable
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.ice.ice_lite import Address, StunError, TransportPath, read_binding_request
from rokuga.recorder.webrtc.transport.flow import Flow, PortCounters

MAX_PATHS: Final = 8
"""Transport paths of one peer; one more replaces the one that was checked least recently."""
PATH_HELD_NS: Final = 10 * NS_PER_S
"""For so long after its last check a path cannot be validated by another peer."""
ERROR_REPLIES_PER_S: Final = 100
"""STUN error responses to all unauthenticated requests together."""
FAILED_CHECKS_PER_S: Final = 20
"""Failed checks of one address that are parsed: not STUN, for no peer, or without valid credentials."""
MAX_WATCHED: Final = 4096
"""Unauthenticated addresses whose failed checks are counted."""


class ConnectivityChecks:
    """The peers of the port: by ufrag, and by transport path once they have validated one."""

    def __init__(self, counters: PortCounters, send: Callable[[bytes, TransportPath], None]) -> None:
        self._counters = counters
        self._send = send
        self._by_ufrag: dict[bytes, Flow] = {}
        self._by_socket: dict[int, dict[Address, Flow]] = {}
        self._error_replies = 0
        self._failed: dict[tuple[int, Address], int] = {}
        self._second = 0

    def __len__(self) -> int:
        return len(self._by_ufrag)

    def add(self, flow: Flow) -> None:
        """Answer the checks of a peer from now on."""
        self._by_ufrag[flow.ice.ufrag] = flow

    def remove(self, flow: Flow) -> None:
        """Remove a peer and its paths. Safe to repeat."""
        self._by_ufrag.pop(flow.ice.ufrag, None)
        for path in list(flow.paths):
            self._release(flow, path)

    def clear(self) -> None:
        """Answer no checks any more."""
        self._by_ufrag.clear()

    def flows_of(self, socket: int) -> dict[Address, Flow]:
        """Return the peers of one of our sockets by validated address: always the same mapping, to be read only."""
        return self._by_socket.setdefault(socket, {})

    def remove_path(self, path: TransportPath) -> None:
        """Remove a path that has been closed."""
        flow = self.flows_of(path.socket).get(path.address)
        if flow is not None:
            self._release(flow, path)

    def receive(self, data: bytes, socket: int, address: Address, now_ns: int) -> None:
        """Answer a datagram with STUN's first byte and magic cookie, which `address` sent to one of our sockets."""
        second = now_ns // NS_PER_S
        if second != self._second:
            self._second, self._error_replies = second, 0
            self._failed.clear()
        holder = self._by_socket[socket].get(address)
        if holder is not None and now_ns - holder.ice.last_check_ns > PATH_HELD_NS:
            holder = None
        failed = self._failed.get((socket, address), 0)
        if failed >= FAILED_CHECKS_PER_S and not (holder and holder.ice.is_signed(data)):
            self._counters.bad_stun += 1
            return
        path = TransportPath(socket, address)
        try:
            request = read_binding_request(data)
            flow = self._by_ufrag.get(request.local_ufrag)
            if flow is None:
                self._counters.unauthenticated += 1
                self._count_failure(path, holder)
                return
            if holder is not None and holder is not flow:  # right credentials must not move a peer's path either
                self._counters.contested += 1
                return
            sends_errors = self._error_replies < ERROR_REPLIES_PER_S
            reply = flow.ice.answer(data, request, path, now_ns, sends_errors=sends_errors)
        except StunError:
            self._counters.bad_stun += 1
            self._count_failure(path, holder)
            return
        if reply.authenticated:
            self._validate(flow, path)
        else:
            self._counters.bad_stun += 1
            self._error_replies += 1
            self._count_failure(path, holder)
        if reply.data:
            self._send(reply.data, path)

    def _count_failure(self, path: TransportPath, holder: Flow | None) -> None:
        if holder is not None or len(self._failed) < MAX_WATCHED:
            self._failed[path] = self._failed.get(path, 0) + 1

    def _validate(self, flow: Flow, path: TransportPath) -> None:
        flows = self._by_socket[path.socket]
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
        flow.ice.remove_path(path)
        self._by_socket[path.socket].pop(path.address, None)
