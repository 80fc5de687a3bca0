"""The port on machines with several addresses, behind mappings and NAT, and with fragments and drops."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from unittest.mock import patch

import pytest
from aioice.stun import parse_message

from rokuga.recorder.webrtc.transport import local_sockets, media_port
from rokuga.recorder.webrtc.transport.demultiplexer import MAX_DATAGRAM_BYTES
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from tests.recorder.webrtc.namespaces import NamespaceNetwork, networked
from tests.recorder.webrtc.tcp_client import TcpClient
from tests.recorder.webrtc.udp_client import SRTP, CollectingPeer, UdpClient, check, until


@contextlib.asynccontextmanager
async def port_on(network: NamespaceNetwork, machine: str, *media_addresses: str) -> AsyncIterator[MediaPort]:
    port = MediaPort(0, media_addresses, with_tcp=True)
    with patch.object(media_port, "RESCAN_S", 3600):  # the event loop is in another namespace: tests call it
        with network.on(machine):
            await port.__aenter__()
        try:
            yield port
        finally:
            await port.__aexit__(None, None, None)


@contextlib.contextmanager
def client_on(network: NamespaceNetwork, machine: str, host: str, to: tuple[str, int]) -> Iterator[UdpClient]:
    with network.on(machine):
        client = UdpClient(to, host)
    with client:
        yield client


@contextlib.asynccontextmanager
async def tcp_client_on(network: NamespaceNetwork, machine: str, to: tuple[str, int]) -> AsyncIterator[TcpClient]:
    with network.on(machine):
        connecting = asyncio.open_connection(*to)
        reader, writer = await connecting
    try:
        yield TcpClient(reader, writer)
    finally:
        writer.transport.abort()


@pytest.mark.system
async def test_each_of_several_interfaces_answers_from_its_own_address() -> None:
    """IPv4 and IPv6 at once, also for a client that arrives by another interface than that of the address."""
    with networked("recorder", "one", "two") as network:
        network.link(
            ("recorder", "eth1"), ("one", "eth0"), ("10.9.1.1/24", "10.9.1.2/24"), ("fd09:1::1/64", "fd09:1::2/64")
        )
        network.link(("recorder", "eth2"), ("two", "eth0"), ("10.9.2.1/24", "10.9.2.2/24"))
        network.run("one", "ip", "route", "add", "default", "via", "10.9.1.1")
        async with port_on(network, "recorder") as port:
            sink = CollectingPeer(port, "peer")
            offered = [each.host for each in port.candidates if each.transport == "udp"]
            assert offered == ["10.9.1.1", "10.9.2.1", "fd09:1::1"]
            for machine, host, to in (
                ("one", "10.9.1.2", "10.9.1.1"),
                ("one", "10.9.1.2", "10.9.2.1"),
                ("one", "fd09:1::2", "fd09:1::1"),
                ("two", "10.9.2.2", "10.9.2.1"),
            ):
                with client_on(network, machine, host, (to, port.port)) as client:
                    assert await client.validate("peer") == to
                    sink.flow.send(b"hello")
                    assert await client.receive() == (b"hello", to)
                async with tcp_client_on(network, machine, (to, port.port)) as connected:
                    await connected.validate("peer")
                    sink.flow.send(b"hello")
                    assert await connected.receive() == b"hello"


@pytest.mark.system
async def test_a_mapped_port_reaches_a_container() -> None:
    """As with Docker: an address and port of the host lead to those of the recorder in the container."""
    with networked("container", "machine", "client") as network:
        network.link(("container", "eth0"), ("machine", "docker0"), ("172.30.0.2/24", "172.30.0.1/24"))
        network.link(("client", "eth0"), ("machine", "eth0"), ("10.9.1.2/24", "10.9.1.1/24"))
        network.run("container", "ip", "route", "add", "default", "via", "172.30.0.1")
        network.run("machine", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        async with port_on(network, "container", "10.9.1.1:15004") as port:
            for protocol in ("udp", "tcp"):
                network.run(
                    "machine", "iptables", "-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-p", protocol,
                    "--dport", "15004", "-j", "DNAT", "--to-destination", f"172.30.0.2:{port.port}",
                )  # fmt: skip
            sink = CollectingPeer(port, "peer")
            (udp, tcp) = port.candidates
            with client_on(network, "client", "10.9.1.2", (udp.host, udp.port)) as client:
                assert await client.validate("peer") == "10.9.1.1"
                client.send(SRTP)
                await until(lambda: sink.media)
                sink.flow.send(b"hello")
                assert await client.receive() == (b"hello", "10.9.1.1")
            async with tcp_client_on(network, "client", (tcp.host, tcp.port)) as connected:
                await connected.validate("peer")
                connected.send(SRTP)
                await until(lambda: len(sink.media) == 2)


@pytest.mark.system
async def test_a_client_whose_nat_changes_its_address_stays_connected() -> None:
    """Only what it sends until its next check is lost."""
    with networked("recorder", "nat", "client") as network:
        network.link(("recorder", "eth0"), ("nat", "wan"), ("10.9.1.1/24", "10.9.1.2/24"))
        network.link(("client", "eth0"), ("nat", "lan"), ("192.168.9.2/24", "192.168.9.1/24"))
        network.run("client", "ip", "route", "add", "default", "via", "192.168.9.1")
        network.run("nat", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        network.run("nat", "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "wan", "-j", "MASQUERADE")
        async with port_on(network, "recorder") as port:
            sink = CollectingPeer(port, "peer")
            with client_on(network, "client", "192.168.9.2", ("10.9.1.1", port.port)) as client:
                client.send(check("peer"))
                mapped = parse_message((await client.receive())[0]).attributes["XOR-MAPPED-ADDRESS"]
                assert mapped[0] == "10.9.1.2"
                client.send(SRTP + b"1")
                await until(lambda: sink.media)
                network.run("nat", "ip", "addr", "add", "10.9.1.3/24", "dev", "wan")
                network.run("nat", "ip", "addr", "del", "10.9.1.2/24", "dev", "wan")
                network.run("nat", "ip", "addr", "replace", "10.9.1.3/24", "dev", "wan")
                client.send(SRTP + b"2")
                await until(lambda: port.counters.unauthenticated == 1)
                await client.validate("peer")
                client.send(SRTP + b"3")
                await until(lambda: len(sink.media) == 2)
                sink.flow.send(b"hello")
                assert (await client.receive())[0] == b"hello"
    assert [datagram[-1:] for datagram in sink.media] == [b"1", b"3"]


@pytest.mark.system
async def test_datagrams_of_several_fragments_are_read_or_counted_as_too_long() -> None:
    with networked("recorder", "client") as network:
        network.link(("recorder", "eth0"), ("client", "eth0"), ("10.9.1.1/24", "10.9.1.2/24"), mtu=600)
        async with port_on(network, "recorder") as port:
            sink = CollectingPeer(port, "peer")
            with client_on(network, "client", "10.9.1.2", ("10.9.1.1", port.port)) as client:
                await client.validate("peer")
                for size in (MAX_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES + 1, 65507, 1200):
                    client.send(SRTP.ljust(size, b"x"))
                await until(lambda: len(sink.media) == 2)
                sink.flow.send(bytes(1200))
                assert await client.receive() == (bytes(1200), "10.9.1.1")
            assert [len(datagram) for datagram in sink.media] == [MAX_DATAGRAM_BYTES, 1200]
            assert port.counters.bad_size == 2


async def test_datagrams_dropped_by_the_kernel_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst between two reads fills the receive buffer."""
    monkeypatch.setattr(local_sockets, "RECEIVE_BUFFER_BYTES", 16 * 1024)
    async with MediaPort(0, ("127.0.0.1",)) as port:
        sink = CollectingPeer(port, "peer")
        with UdpClient(("127.0.0.1", port.port)) as client:
            await client.validate("peer")
            for _ in range(100):
                client.send(SRTP.ljust(1000, b"x"))
            client.send(check("peer"))
            dropped = (await port.totals())["datagrams_dropped"]
            assert isinstance(dropped, dict)
            lost = dropped["receive_buffer"]
            assert 0 < lost < 101
            await until(lambda: port.counters.received == 1 + 101 - lost)
    assert 0 < len(sink.media) <= 101 - lost


async def scan(network: NamespaceNetwork, port: MediaPort) -> list[str]:
    """Rescan the recorder's addresses; return what is offered."""
    with network.on("recorder"):
        await port.rescan()
    return [each.host for each in port.candidates if each.transport == "udp"]


@pytest.mark.system
async def test_an_address_added_after_the_start_is_bound_and_offered() -> None:
    """After a start without an address, loopback is withdrawn, and media flows."""
    with networked("recorder", "client") as network:
        async with port_on(network, "recorder") as port:
            assert await scan(network, port) == ["127.0.0.1"]
            assert await port.probe() == "this host has no address but loopback, and media_address is not set"
            network.link(("recorder", "eth0"), ("client", "eth0"), ("10.9.1.1/24", "10.9.1.2/24"))
            assert await scan(network, port) == ["10.9.1.1"]
            assert await port.probe() is None
            sink = CollectingPeer(port, "peer")
            with client_on(network, "client", "10.9.1.2", ("10.9.1.1", port.port)) as client:
                assert await client.validate("peer") == "10.9.1.1"
                client.send(SRTP)
                await until(lambda: sink.media)
            async with tcp_client_on(network, "client", ("10.9.1.1", port.port)) as connected:
                await connected.validate("peer")
                sink.flow.send(b"hello")
                assert await connected.receive() == b"hello"


@pytest.mark.system
async def test_a_removed_address_keeps_its_socket_while_a_peer_uses_it() -> None:
    """The peer continues if the address is added again; without a peer the socket is closed."""
    with networked("recorder", "client") as network:
        network.link(("recorder", "eth0"), ("client", "eth0"), ("10.9.1.1/24", "10.9.1.2/24"))
        async with port_on(network, "recorder") as port:
            sink = CollectingPeer(port, "peer")
            with client_on(network, "client", "10.9.1.2", ("10.9.1.1", port.port)) as client:
                await client.validate("peer")
                network.run("recorder", "ip", "addr", "add", "10.9.1.3/24", "dev", "eth0")
                network.run("recorder", "ip", "addr", "del", "10.9.1.1/24", "dev", "eth0")
                network.run("recorder", "ip", "addr", "replace", "10.9.1.3/24", "dev", "eth0")
                assert await scan(network, port) == ["10.9.1.3"]
                assert set(port._bound) == {"10.9.1.1", "10.9.1.3"}
                network.run("recorder", "ip", "addr", "add", "10.9.1.1/24", "dev", "eth0")
                client.send(SRTP)
                await until(lambda: sink.media)
                sink.flow.close()
                network.run("recorder", "ip", "addr", "del", "10.9.1.1/24", "dev", "eth0")
                await scan(network, port)
                assert set(port._bound) == {"10.9.1.3"}
            with client_on(network, "client", "10.9.1.2", ("10.9.1.3", port.port)) as client:
                CollectingPeer(port, "next")
                assert await client.validate("next") == "10.9.1.3"


@pytest.mark.system
async def test_deprecated_and_tentative_addresses_are_not_offered() -> None:
    """The peers of an address that becomes deprecated stay."""
    with networked("recorder", "client") as network:
        network.link(("recorder", "eth0"), ("client", "eth0"), ("fd09::1/64", "fd09::2/64"))
        for more in (("fd09::3/64", "nodad", "preferred_lft", "0"), ("fd09::4/64", "nodad")):
            network.run("recorder", "ip", "addr", "add", more[0], "dev", "eth0", *more[1:])
        async with port_on(network, "recorder") as port:
            assert sorted(await scan(network, port)) == ["fd09::1", "fd09::4"]
            network.run("recorder", "ip", "addr", "add", "fd09::5/64", "dev", "eth0")  # detection takes a second
            assert sorted(await scan(network, port)) == ["fd09::1", "fd09::4"]
            CollectingPeer(port, "peer")
            with client_on(network, "client", "fd09::2", ("fd09::1", port.port)) as client:
                await client.validate("peer")
                network.run("recorder", "ip", "addr", "change", "fd09::1/64", "dev", "eth0", "preferred_lft", "0")
                assert "fd09::1" not in await scan(network, port)
                assert await client.validate("peer") == "fd09::1"


@pytest.mark.system
async def test_an_address_on_which_the_port_is_in_use_is_not_offered_until_it_is_free() -> None:
    with networked("recorder", "client") as network:
        async with port_on(network, "recorder") as port:
            with network.on("recorder"):
                blocking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with blocking:
                network.link(("recorder", "eth0"), ("client", "eth0"), ("10.9.1.1/24", "10.9.1.2/24"))
                blocking.bind(("10.9.1.1", port.port))
                assert await scan(network, port) == ["127.0.0.1"]
                assert "10.9.1.1: Address already in use" in str(await port.probe())
            assert await scan(network, port) == ["10.9.1.1"]
