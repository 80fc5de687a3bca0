"""The media port over sockets on loopback: dispatch, validation, budgets."""

import errno
from contextlib import suppress
from random import Random

import pytest
from aioice.stun import parse_message

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.dtls.queue import DTLS_PER_S
from rokuga.recorder.webrtc.ice import connectivity_checks as checks
from rokuga.recorder.webrtc.ice.connectivity_checks import (
    ERROR_REPLIES_PER_S,
    FAILED_CHECKS_PER_S,
    MAX_PATHS,
    PATH_HELD_NS,
)
from rokuga.recorder.webrtc.ice.ice_lite import MAGIC_COOKIE
from rokuga.recorder.webrtc.transport.addresses import AddressError, is_local
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from tests.machine import lacks
from tests.recorder.webrtc.udp_client import DTLS, SRTP, CollectingPeer, UdpClient, check, until


def client_of(port: MediaPort, host: str = "127.0.0.1") -> UdpClient:
    return UdpClient((host, port.port), host)


async def test_media_and_dtls_go_to_the_peer_that_validated_the_address(port: MediaPort) -> None:
    first, second = CollectingPeer(port, "first"), CollectingPeer(port, "second")
    with client_of(port) as one, client_of(port) as two:
        await one.validate("first")
        await two.validate("second")
        for datagram in (SRTP + b"1", DTLS + b"1"):
            one.send(datagram)
        for datagram in (SRTP + b"2", DTLS + b"2"):
            two.send(datagram)
        await until(lambda: first.dtls and second.dtls)
    assert (first.media, first.dtls) == ([SRTP + b"1"], [DTLS + b"1"])
    assert (second.media, second.dtls) == ([SRTP + b"2"], [DTLS + b"2"])
    assert first.flow.reachable.is_set()


async def test_a_flow_sends_to_the_validated_address(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    sink.flow.send(b"lost: no address is validated")
    with client_of(port) as client:
        await client.validate("peer")
        sink.flow.send(b"hello")
        assert await client.receive() == (b"hello", "127.0.0.1")


async def test_unauthenticated_datagrams_of_every_kind_are_counted_and_dropped(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    with client_of(port) as publisher, client_of(port) as unauthenticated:
        await publisher.validate("peer")
        dropped = [b"", bytes([128]) * 2049, SRTP, DTLS, b"\x00\x01", check("nobody"), b"\x40 turn", b"\xff"]
        for datagram in dropped:
            unauthenticated.send(datagram)
        await until(lambda: port.counters.received == 1 + len(dropped))
        publisher.send(SRTP)
        await until(lambda: sink.media)
    counters = port.counters
    assert (counters.bad_size, counters.unauthenticated, counters.bad_stun, counters.bad_first_byte) == (2, 3, 1, 2)
    assert sink.media == [SRTP]
    assert not sink.faults


async def test_random_datagrams_of_each_kind_have_no_effect(
    port: MediaPort,
) -> None:
    sink, random = CollectingPeer(port, "peer"), Random(1)
    with client_of(port) as publisher, client_of(port) as unauthenticated:
        await publisher.validate("peer")
        for first in (0, 1, 20, 63, 128, 191, 16, 255):
            for _ in range(100):
                for each in (publisher, unauthenticated):
                    each.send(bytes([first]) + random.randbytes(random.randrange(1500)))
            await until(lambda: port.counters.received % 200 == 1)
        await publisher.validate("peer")
    assert not sink.faults
    assert len(sink.media) == 200, "only the datagrams of the validated address"


async def test_an_internal_error_ends_that_peer_only(port: MediaPort) -> None:
    broken, whole = CollectingPeer(port, "broken", breaks=True), CollectingPeer(port, "whole")
    with client_of(port) as one, client_of(port) as two:
        await one.validate("broken")
        await two.validate("whole")
        for _ in range(3):
            one.send(SRTP)
        two.send(SRTP)
        await until(lambda: whole.media)
        await until(lambda: port.counters.unauthenticated == 2)
    assert len(broken.faults) == 1
    assert port.counters.faults == 1


async def test_the_address_of_a_closed_flow_is_unauthenticated(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    with client_of(port) as client:
        await client.validate("peer")
        sink.flow.close()
        sink.flow.close()
        client.send(SRTP)
        client.send(check("peer"))
        await until(lambda: port.counters.unauthenticated == 2)
    assert not sink.media


async def test_only_an_authenticated_check_changes_the_address_of_a_peer(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    with client_of(port) as before, client_of(port) as after:
        await before.validate("peer")
        after.send(check("peer", password="wrong"))
        data, _ = await after.receive()
        assert parse_message(data).error_code == 401
        after.send(SRTP)
        await until(lambda: port.counters.unauthenticated == 1)
        await after.validate("peer")
        after.send(SRTP)
        await until(lambda: sink.media)
        sink.flow.send(b"to the new address")
        assert (await after.receive())[0] == b"to the new address"


async def test_a_peer_has_a_bounded_number_of_paths(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    clients = [client_of(port) for _ in range(MAX_PATHS + 3)]
    for client in clients:
        await client.validate("peer")
    clients[0].send(SRTP)
    clients[-1].send(SRTP)
    await until(lambda: sink.media)
    assert port.counters.unauthenticated == 1
    assert len(sink.flow.paths) == MAX_PATHS
    for client in clients:
        client.socket.close()


async def test_the_address_of_an_active_peer_cannot_be_validated_by_another_but_a_silent_ones_can() -> None:
    now_ns = [NS_PER_S]
    async with MediaPort(0, ("127.0.0.1",), Clock(monotonic_ns=lambda: now_ns[0])) as port:
        first, second = CollectingPeer(port, "first"), CollectingPeer(port, "second")
        with client_of(port) as client:
            await client.validate("first")
            client.send(check("second"))
            await until(lambda: port.counters.contested == 1)
            client.send(SRTP)
            await until(lambda: first.media)
            now_ns[0] += PATH_HELD_NS + 1
            await client.validate("second")
            client.send(SRTP)
            await until(lambda: second.media)
    assert len(first.media) == 1
    assert first.flow.ice.path is None


async def test_error_responses_to_unauthenticated_requests_are_bounded(port: MediaPort) -> None:
    CollectingPeer(port, "peer")
    with client_of(port) as unauthenticated:
        for _ in range(3 * ERROR_REPLIES_PER_S):
            unauthenticated.send(check("peer", password="wrong"))
        await until(lambda: port.counters.bad_stun == 3 * ERROR_REPLIES_PER_S)
        replies = 0
        while True:
            try:
                unauthenticated.socket.recv(2048)
            except BlockingIOError:
                break
            replies += 1
    assert 0 < replies <= 2 * ERROR_REPLIES_PER_S, "at most two seconds' worth"


@pytest.mark.parametrize(
    "useless",
    [check("peer", password="wrong"), check("nobody"), check("peer")[:-4], check("peer")[:4] + MAGIC_COOKIE],
    ids=["wrong password", "for nobody", "cut off", "no check"],
)
async def test_an_address_is_ignored_after_too_many_failed_checks_until_the_next_second(
    useless: bytes,
) -> None:
    now_ns = [NS_PER_S]
    async with MediaPort(0, ("127.0.0.1",), Clock(monotonic_ns=lambda: now_ns[0])) as port:
        CollectingPeer(port, "peer")
        with client_of(port) as unauthenticated, client_of(port) as other:
            for _ in range(FAILED_CHECKS_PER_S):
                unauthenticated.send(useless)
            unauthenticated.send(check("peer"))
            await until(lambda: port.counters.received == FAILED_CHECKS_PER_S + 1)
            assert port.counters.bad_stun + port.counters.unauthenticated == FAILED_CHECKS_PER_S + 1
            await other.validate("peer")
            now_ns[0] += NS_PER_S
            with suppress(BlockingIOError):
                while unauthenticated.socket.recv(2048):  # errors
                    pass
            await unauthenticated.validate("peer")


async def test_checks_from_a_validated_address_are_answered_despite_forged_ones() -> None:
    """Or else anybody who forges its source address could end its consent."""
    async with MediaPort(0, ("127.0.0.1",), Clock(monotonic_ns=lambda: NS_PER_S)) as port:
        sink = CollectingPeer(port, "peer")
        with client_of(port) as client:
            await client.validate("peer")
            for _ in range(FAILED_CHECKS_PER_S):
                client.send(check("peer", password="wrong"))
                await client.receive()
            for _ in range(ERROR_REPLIES_PER_S):
                client.send(check("peer", password="wrong"))
            await client.validate("peer")
            with pytest.raises(BlockingIOError):
                client.socket.recv(2048)
    assert port.counters.bad_stun == ERROR_REPLIES_PER_S + FAILED_CHECKS_PER_S
    assert sink.flow.ice.last_check_ns == NS_PER_S


async def test_a_validated_address_has_a_budget_even_if_too_many_addresses_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "MAX_WATCHED", 1)
    async with MediaPort(0, ("127.0.0.1",), Clock(monotonic_ns=lambda: NS_PER_S)) as port:
        CollectingPeer(port, "peer")
        with client_of(port) as client, client_of(port) as unauthenticated:
            await client.validate("peer")
            unauthenticated.send(check("peer", password="wrong"))
            await unauthenticated.receive()
            for _ in range(FAILED_CHECKS_PER_S):
                client.send(check("peer", password="wrong"))
                await client.receive()
            client.send(check("peer", password="wrong"))
            await client.validate("peer")
            with pytest.raises(BlockingIOError):
                client.socket.recv(2048)


async def test_dtls_of_a_peer_is_bounded_without_affecting_other_peers() -> None:
    async with MediaPort(0, ("127.0.0.1",), Clock(monotonic_ns=lambda: NS_PER_S)) as port:
        flooded, other = CollectingPeer(port, "flooded"), CollectingPeer(port, "other")
        with client_of(port) as one, client_of(port) as two:
            await one.validate("flooded")
            await two.validate("other")
            for _ in range(2 * DTLS_PER_S):
                one.send(DTLS)
            two.send(DTLS)
            await until(lambda: other.dtls)
    assert len(flooded.dtls) == DTLS_PER_S
    assert port.counters.dtls_overflow == DTLS_PER_S


async def test_each_local_address_answers_from_itself_on_the_same_number() -> None:
    async with MediaPort(0, ("127.0.0.1", "127.0.0.2")) as port:
        CollectingPeer(port, "peer")
        assert [candidate.host for candidate in port.candidates] == ["127.0.0.1", "127.0.0.2"]
        for host in ("127.0.0.1", "127.0.0.2"):
            with UdpClient((host, port.port)) as client:
                assert await client.validate("peer") == host


async def test_ipv6_works_beside_ipv4() -> None:
    if not is_local("::1"):
        lacks("this host has no IPv6")
    async with MediaPort(0, ("127.0.0.1", "::1")) as port:
        sink = CollectingPeer(port, "peer")
        with client_of(port, "::1") as client:
            assert await client.validate("peer") == "::1"
            client.send(SRTP)
            await until(lambda: sink.media)
            sink.flow.send(b"hello")
            assert await client.receive() == (b"hello", "::1")


async def test_a_mapped_port_is_offered_instead_of_our_own() -> None:
    async with MediaPort(0, ("127.0.0.1:15004", "203.0.113.9")) as port:
        assert [(candidate.host, candidate.port) for candidate in port.candidates] == [
            ("127.0.0.1", 15004),
            ("203.0.113.9", port.port),
        ]


async def test_a_port_in_use_is_named(port: MediaPort) -> None:
    with pytest.raises(OSError, match=rf"UDP port {port.port} on 127\.0\.0\.1") as caught:
        await MediaPort(port.port, ("127.0.0.1",)).__aenter__()
    assert caught.value.errno == errno.EADDRINUSE


async def test_a_host_name_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(AddressError, match=r"nowhere\.invalid"):
        await MediaPort(0, ("nowhere.invalid",)).__aenter__()


async def test_a_burst_larger_than_a_batch_is_read_completely(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    with client_of(port) as client:
        await client.validate("peer")
        for number in range(1000):
            client.send(SRTP + number.to_bytes(2, "big"))
        await until(lambda: len(sink.media) == 1000)
    assert [int.from_bytes(datagram[-2:], "big") for datagram in sink.media] == list(range(1000))


async def test_waiting_datagrams_are_read_on_demand(port: MediaPort) -> None:
    """A read on demand from within a handler does not read: the order is kept."""
    sink = CollectingPeer(port, "peer")
    with client_of(port) as client:
        await client.validate("peer")
        sent = [SRTP + bytes((number,)) for number in range(3)]
        for datagram in sent:
            client.send(datagram)
        sink.before_srtp = port.read
        port.read()
        assert sink.media == sent


async def test_sending_after_the_end_is_ignored() -> None:
    async with MediaPort(0, ("127.0.0.1",)) as port:
        sink = CollectingPeer(port, "peer")
        with client_of(port) as client:
            await client.validate("peer")
    sink.flow.send(b"lost")
    sink.flow.close()


async def test_nothing_arrives_before_it_was_sent_however_long_a_batch_takes() -> None:
    """A datagram that arrives while the one before it is processed is of the same batch, not of the same time.

    The earliest arrival determines the time of a whole track: a time that is too early breaks lip sync.
    """
    now_ns = [NS_PER_S]
    async with MediaPort(0, ("127.0.0.1",), Clock(monotonic_ns=lambda: now_ns[0])) as port:
        sink = CollectingPeer(port, "peer")
        with client_of(port) as client:

            def process_slowly() -> None:
                if not sink.media:
                    now_ns[0] += NS_PER_S
                    client.send(SRTP)

            sink.before_srtp = process_slowly
            await client.validate("peer")
            client.send(SRTP)
            await until(lambda: len(sink.media) == 2)
    assert sink.arrivals_ns == [NS_PER_S, 2 * NS_PER_S]
