"""One demultiplexer dispatches all datagrams, whatever carried them."""

import pytest

from rokuga.recorder.webrtc.ice.ice_lite import IceLite
from rokuga.recorder.webrtc.transport.demultiplexer import MAX_DATAGRAM_BYTES, Demultiplexer
from rokuga.recorder.webrtc.transport.flow import Flow
from tests.recorder.webrtc.udp_client import DTLS, PASSWORD, SRTP, check

UDP_SOCKET, TCP_SOCKET = 0, 1
ADDRESS = ("192.0.2.1", 5000)


class LoggingPeer:
    """A handler that notes its calls; `error` is raised by `receive_srtp`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[object] = []
        self.error = error

    def receive_srtp(self, size: int, now_ns: int) -> None:
        """Note the call; raise `error` if there is one."""
        self.calls.append((size, now_ns))
        if self.error is not None:
            raise self.error

    def receive_dtls(self, data: bytes) -> None:
        """Note the call."""
        self.calls.append(data)

    def fail(self, error: Exception) -> None:
        """Note the call."""
        self.calls.append(error)


def opened(peer: LoggingPeer) -> tuple[Demultiplexer, list[bytes]]:
    """Return a demultiplexer with one peer, and the datagrams that it sends."""
    sent: list[bytes] = []
    demultiplexer = Demultiplexer(lambda data, _path: sent.append(data))
    checks = demultiplexer.checks
    checks.add(Flow(IceLite("peer", PASSWORD), peer, send=lambda *_: None, remove=checks.remove))
    return demultiplexer, sent


def receive(demultiplexer: Demultiplexer, data: bytes, socket: int) -> None:
    """Pass a datagram to it, as the ports do."""
    demultiplexer.buffer.data[: len(data)] = data
    flows = demultiplexer.checks.flows_of(socket)
    demultiplexer.receive(len(data), flows, socket, ADDRESS, 7)


@pytest.mark.parametrize("socket", [UDP_SOCKET, TCP_SOCKET])
async def test_srtp_and_its_counters_are_the_same_from_each_kind_of_socket(socket: int) -> None:
    peer = LoggingPeer()
    demultiplexer, sent = opened(peer)
    receive(demultiplexer, SRTP, socket)
    assert not peer.calls, "the address is not validated"
    receive(demultiplexer, check("peer"), socket)
    assert len(sent) == 1
    receive(demultiplexer, SRTP, socket)
    assert peer.calls == [(len(SRTP), 7)]
    counters = demultiplexer.counters
    assert (counters.unauthenticated, counters.srtp, counters.srtp_bytes) == (1, 1, len(SRTP))


@pytest.mark.parametrize("socket", [UDP_SOCKET, TCP_SOCKET])
async def test_an_internal_error_ends_the_peer_whose_handler_raised_it(socket: int) -> None:
    error = KeyError("internal")
    peer = LoggingPeer(error)
    demultiplexer, _ = opened(peer)
    receive(demultiplexer, check("peer"), socket)
    receive(demultiplexer, SRTP, socket)
    receive(demultiplexer, SRTP, socket)
    assert peer.calls == [(len(SRTP), 7), error]
    assert (demultiplexer.counters.faults, demultiplexer.counters.unauthenticated) == (1, 1)


async def test_an_address_validated_by_one_socket_is_unauthenticated_by_another() -> None:
    peer = LoggingPeer()
    demultiplexer, _ = opened(peer)
    receive(demultiplexer, check("peer"), UDP_SOCKET)
    for datagram in (SRTP, DTLS):
        receive(demultiplexer, datagram, TCP_SOCKET)
    assert not peer.calls
    assert demultiplexer.counters.unauthenticated == 2


async def test_datagrams_of_no_protocol_or_no_size_are_counted_and_dropped() -> None:
    peer = LoggingPeer()
    demultiplexer, sent = opened(peer)
    receive(demultiplexer, check("peer"), UDP_SOCKET)
    for datagram in (b"", bytes([128]) * (MAX_DATAGRAM_BYTES + 1), b"\x40", b"\xff", b"\x00\x01"):
        receive(demultiplexer, datagram, UDP_SOCKET)
    counters = demultiplexer.counters
    assert (counters.bad_size, counters.bad_first_byte, counters.bad_stun) == (2, 2, 1)
    assert not peer.calls
    assert len(sent) == 1
