"""The parsers of hosts, origins, addresses and networks."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.http.address_text import (
    Authority,
    client_network,
    is_host_name,
    is_loopback,
    is_within,
    parse_address,
    parse_authority,
    parse_network,
    parse_origin,
)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost:3000", Authority("localhost", 3000)),
        ("a_b.example:", Authority("a_b.example", None)),
        ("127.0.0.1:0", Authority("127.0.0.1", 0)),
        ("[2001:DB8::1]:65535", Authority("2001:db8::1", 65535)),
        *(
            (wrong, None)
            for wrong in (
                "",
                ":80",
                "localhost:65536",
                "localhost:٣",
                "localhost:+80",
                "localhost:8_0",
                "localhost: 80",
                " localhost",
                "localhost\t",
                "localhost\n",
                "localhost.",
                ".localhost",
                "a..b",
                "user@localhost",
                "localhost/",
                "localhost?",
                "localhost#",
                "a\\b",
                "a%2eb",
                "2130706433",
                "0x7f.1",
                "127.1",
                "127.0.0.01",
                "127.0.0.256",
                "a.1",
                "::1",
                "[::1",
                "::1]",
                "[127.0.0.1]",
                "[::1%lo]",
                "[v1.a:b]",
                "[::1]x",
                "ｌocalhost",
                "a" * 64,
                "a." * 127 + "a",
                "-a",
                "a-",
            )
        ),
    ],
)
def test_an_authority_is_a_host_and_a_port(text: str, authority: Authority | None) -> None:
    assert parse_authority(text) == authority


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("HTTP://Localhost:80", ("http", Authority("localhost", 80))),
        ("chrome-extension://abc", ("chrome-extension", Authority("abc", None))),
        ("null", None),
        ("http://", None),
        ("http:///", None),
        ("http://a/", None),
        ("http://a@b", None),
        ("http:/a", None),
        ("file://", None),
        ("http://a http://b", None),
    ],
)
def test_an_origin_is_a_scheme_and_an_authority(text: str, origin: tuple[str, Authority] | None) -> None:
    assert parse_origin(text) == origin


@given(st.ip_addresses())
def test_addresses_are_parsed_as_ipaddress_does(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    for text in (str(address), address.exploded.upper()):
        assert parse_address(text) == (mapped or address).packed
        assert is_loopback(text) is (mapped or address).is_loopback


@given(st.text(alphabet="0123456789abcdef:.xg%[]/ ", max_size=24))
def test_other_text_is_no_address(text: str) -> None:
    """Nothing is accepted that `ipaddress` refuses."""
    address = parse_address(text)
    if address is not None:
        assert ipaddress.ip_address(text).packed.endswith(address)


@pytest.mark.parametrize("text", ["1::2::3", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1.2.3", "1.2.3.4::", ""])
def test_invalid_addresses_are_refused(text: str) -> None:
    assert parse_address(text) is None


def test_host_names_are_recognized() -> None:
    assert is_host_name("rec-1.example")
    assert not is_host_name("Rec.example")
    assert not is_host_name("10.0.0.1")


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
        ("10.1.2.3/8", "10.9.9.9", "127.0.0.1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("0.0.0.0/0", "192.0.2.1", "2001:db8::1"),
    ],
)
def test_a_network_contains_the_addresses_with_its_prefix(network: str, inside: str, outside: str) -> None:
    parsed = parse_network(network)
    assert parsed is not None
    assert is_within(inside, [parsed])
    assert not is_within(outside, [parsed])


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/٨", "a", "/8", "::/129"])
def test_invalid_networks_are_refused(text: str) -> None:
    assert parse_network(text) is None


def test_an_ipv6_client_is_its_first_64_bits() -> None:
    assert client_network("2001:db8::1") == client_network("2001:db8::ffff:1")
    assert client_network("2001:db8::1") != client_network("2001:db8:0:1::1")
    assert client_network("::ffff:192.0.2.1") == client_network("192.0.2.1") != client_network("192.0.2.2")
