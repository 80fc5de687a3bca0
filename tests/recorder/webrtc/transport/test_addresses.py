"""Which addresses are bound, and which are offered."""

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.webrtc.transport.addresses import (
    LOOPBACK,
    AddressError,
    MediaAddress,
    is_local,
    network_of,
    parse_media_address,
    plan_addresses,
    remote_network_of,
    usable,
)
from rokuga.recorder.webrtc.transport.netlink import HostAddress, messages, read_address, read_host_addresses

IFA_F_PERMANENT = 0x80
HOSTS = ("192.0.2.1", "2001:db8::1")


async def no_names(host: str) -> Sequence[str]:
    raise AssertionError(f"{host} is an address, there is nothing to resolve")


async def a_name(host: str) -> Sequence[str]:
    assert host == "rec.example.com"
    return ["203.0.113.9", "2001:db8::9"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", MediaAddress("192.0.2.1")),
        (" 192.0.2.1:15004 ", MediaAddress("192.0.2.1", 15004)),
        ("rec.example.com", MediaAddress("rec.example.com")),
        ("rec.example.com:65535", MediaAddress("rec.example.com", 65535)),
        ("2001:db8::1", MediaAddress("2001:db8::1")),
        ("[2001:db8::1]", MediaAddress("2001:db8::1")),
        ("[2001:db8::1]:15004", MediaAddress("2001:db8::1", 15004)),
    ],
)
def test_every_documented_form_of_an_address_is_parsed(text: str, address: MediaAddress) -> None:
    assert parse_media_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:70000", "h:٣", ":5004", "0.0.0.0", "::", "a:b:c:"],
)
def test_an_address_that_cannot_be_offered_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(AddressError, match=r"is not an|has no port|cannot be offered"):
        parse_media_address(text)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    with suppress(AddressError):
        assert parse_media_address(text).host


async def test_without_media_addresses_all_of_the_host_are_bound_and_offered() -> None:
    plan = await plan_addresses((), no_names, HOSTS)
    assert list(plan.bind) == list(HOSTS)
    assert [address.host for address in plan.candidates(plan.bind)] == list(plan.bind)


async def test_local_media_addresses_are_the_only_ones_that_are_bound() -> None:
    plan = await plan_addresses(("127.0.0.1", "127.0.0.2"), no_names, HOSTS)
    assert plan.bind == ["127.0.0.1", "127.0.0.2"]
    assert plan.offered == [MediaAddress("127.0.0.1"), MediaAddress("127.0.0.2")]


async def test_a_loopback_address_with_a_port_is_one_of_another_machine() -> None:
    """A port of the Docker host's 127.0.0.1 is mapped to the container's own addresses."""
    plan = await plan_addresses(("127.0.0.2:15004",), no_names, HOSTS)
    assert list(plan.bind) == list(dict.fromkeys(["127.0.0.2", *HOSTS]))
    assert plan.offered == [MediaAddress("127.0.0.2", 15004)]


async def test_a_public_address_of_a_nat_is_offered_and_all_local_ones_are_bound() -> None:
    plan = await plan_addresses(("203.0.113.9:15004",), no_names, HOSTS)
    assert list(plan.bind) == list(HOSTS)
    assert plan.offered == [MediaAddress("203.0.113.9", 15004)]


async def test_a_host_name_is_offered_as_its_addresses() -> None:
    plan = await plan_addresses(("rec.example.com:7",), a_name, HOSTS)
    assert plan.offered == [MediaAddress("203.0.113.9", 7), MediaAddress("2001:db8::9", 7)]


@pytest.mark.parametrize(
    ("host", "flags", "is_usable"),
    [
        pytest.param("192.0.2.1", 0x80, True, id="IPv4, permanent"),
        pytest.param("2001:db8::1", 0, True, id="IPv6"),
        pytest.param("fd00::1", 0x01, True, id="IPv6, temporary"),
        pytest.param("2001:db8::1", 0x40, False, id="tentative"),
        pytest.param("2001:db8::1", 0x44, False, id="tentative, though optimistic"),
        pytest.param("2001:db8::1", 0x88, False, id="a duplicate was found"),
        pytest.param("2001:db8::1", 0x20, False, id="deprecated"),
        pytest.param("fe80::1", 0x80, False, id="link-local, IPv6"),
        pytest.param("169.254.7.7", 0x80, False, id="link-local, IPv4"),
        pytest.param("127.0.0.1", 0x80, False, id="loopback"),
        pytest.param("::1", 0x80, False, id="loopback, IPv6"),
    ],
)
def test_only_addresses_that_clients_can_use_are_offered(host: str, flags: int, is_usable: bool) -> None:
    assert usable([HostAddress(host, flags)]) == ([host] if is_usable else [])


def test_ipv4_comes_first_and_each_address_once() -> None:
    found = [HostAddress(host) for host in ("2001:db8::1", "192.0.2.2", "192.0.2.1", "192.0.2.2")]
    assert usable(found) == ["192.0.2.2", "192.0.2.1", "2001:db8::1"]


async def test_loopback_alone_is_reported_unless_it_was_configured() -> None:
    for configured, hosts, is_reported in (
        ((), [LOOPBACK], True),
        ((), HOSTS, False),
        ((LOOPBACK,), [LOOPBACK], False),
    ):
        assert (await plan_addresses(configured, no_names, hosts)).is_loopback_only is is_reported


def test_the_kernel_lists_loopback_with_its_flags() -> None:
    assert HostAddress("127.0.0.1", IFA_F_PERMANENT) in read_host_addresses()


@given(st.binary(max_size=200))
def test_any_bytes_of_netlink_are_messages_or_nothing(data: bytes) -> None:
    for _, message in messages(data):
        read_address(message)


def test_loopback_is_local_and_documentation_addresses_are_not() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("203.0.113.9")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") == network_of("::ffff:192.0.2.1") != network_of("192.0.2.2")
    assert network_of("no address") == b""


def test_loopback_is_no_remote_network() -> None:
    assert [remote_network_of(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "")] == [
        b""
    ] * 5
    assert remote_network_of("::2") == network_of("::2") != b""
