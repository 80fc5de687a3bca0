"""What is public, and what only looks so."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.webhooks.public_address import is_public

PRIVATE = ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"]
PUBLIC = ["8.8.8.8", "1.1.1.1", "203.0.114.1"]
WAYS = {
    "compatible": lambda ip: IPv6Address(int(IPv4Address(ip))),
    "mapped": lambda ip: IPv6Address(0xFFFF << 32 | int(IPv4Address(ip))),
    "translated": lambda ip: IPv6Address(0xFFFF << 48 | int(IPv4Address(ip))),
    "NAT64": lambda ip: IPv6Address(0x64FF9B << 96 | int(IPv4Address(ip))),
    "6to4": lambda ip: IPv6Address(0x2002 << 112 | int(IPv4Address(ip)) << 80 | 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_embedded_ipv4_address_decides(way: str) -> None:
    for ip in PRIVATE:
        assert not is_public(ip)
        assert not is_public(str(WAYS[way](ip))), ip
    for ip in PUBLIC:
        assert is_public(ip)
        assert is_public(str(WAYS[way](ip))), ip


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff0e::1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "2001::1",
        "2001:db8::1",
        "64:ff9b:1::808:808",
        "64:ff9b:1:808:8:800::",
    ],
)
def test_what_is_not_of_the_public_internet(address: str) -> None:
    """Local, reserved, multicast, Teredo; NAT64 with a prefix of its own is for use within a network."""
    assert not is_public(address)


def test_the_rest_is_public() -> None:
    assert is_public("2606:4700:4700::1111")


@given(st.ip_addresses())
def test_every_address_is_the_one_or_the_other(address: IPv4Address | IPv6Address) -> None:
    assert is_public(str(address)) in {True, False}
