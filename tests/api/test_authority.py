"""Hosts, ports, origins and addresses, in the forms that are written down here and in no others."""

import pytest

from rokuga.api.authority import Authority, is_loopback, parse_address, parse_authority, parse_network, parse_origin


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("localhost", Authority("localhost", None)),
        ("Example.COM:8080", Authority("example.com", 8080)),
        ("127.0.0.1:3000", Authority("127.0.0.1", 3000)),
        ("[::1]:3000", Authority("::1", 3000)),
        ("a:", Authority("a", None)),
    ],
)
def test_an_authority_is_a_host_and_maybe_a_port(text: str, authority: Authority) -> None:
    assert parse_authority(text) == authority


@pytest.mark.parametrize(
    "text",
    [
        "", ":80", "a:65536", "a:+80", "a:٣", "user@a", "a b", "a\t", "a\n", "a/b", "a?b", "a#b", "a\\b", "a,b",
        "a%41", "127.1", "127.0.0.01", "0x7f.0.0.1", "2130706433", "1.2.3.4.5", "256.1.1.1", "[::1", "::1",
        "[127.0.0.1]", "[fe80::1%eth0]", "[1:2]", "-a", "a-.b", "a..b", ".a", "ａ", "a:3000:4000", "x" * 254,
    ],
)  # fmt: skip
def test_what_only_a_lenient_parser_takes_is_none(text: str) -> None:
    """Whatever the standard library of this or that Python makes of it."""
    assert parse_authority(text) is None


def test_an_origin_has_a_scheme_and_an_authority_and_nothing_else() -> None:
    assert parse_origin("https://a.example:8443") == ("https", Authority("a.example", 8443))
    for wrong in ("null", "a.example", "https://a/", "https://a/b", "https:/a", "https://u@a", "://a", ""):
        assert parse_origin(wrong) is None


def test_addresses_have_one_form() -> None:
    assert parse_address("::ffff:127.0.0.1") == parse_address("127.0.0.1") == bytes([127, 0, 0, 1])
    assert parse_address("2001:db8::1") == bytes.fromhex("20010db8000000000000000000000001")
    for wrong in ("", "1", "1.2.3", "01.2.3.4", "::g", ":::", "1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8"):
        assert parse_address(wrong) is None, wrong
    assert is_loopback("127.255.255.254")
    assert not is_loopback("128.0.0.1")


def test_networks_are_addresses_with_bits() -> None:
    found = parse_network("10.0.0.0/8")
    assert found is not None
    assert bytes([10, 1, 2, 3]) in found
    assert bytes([11, 0, 0, 0]) not in found
    for wrong in ("10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "host/8", "10.0.0.0/08x"):
        assert parse_network(wrong) is None
