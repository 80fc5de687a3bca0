"""Who sends what a proxy passes on: only a trusted proxy is believed, and nothing passed on is local."""

import pytest

from rokuga.api.authority import Network, parse_network
from rokuga.api.forwarded import Caller, caller


def network(text: str) -> Network:
    """Read a network that is one."""
    found = parse_network(text)
    assert found is not None
    return found


TRUSTED = [network("127.0.0.1"), network("10.0.0.0/8")]


@pytest.mark.parametrize(
    "name",
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via", "x-client-ip"],
)
def test_what_was_passed_on_is_never_local(name: str) -> None:
    """Forged or not: a request of this machine has no such header."""
    for trusted in ([], TRUSTED):
        assert not caller("127.0.0.1", {name: ["127.0.0.1"]}, trusted).is_local


def test_a_connection_of_loopback_that_no_proxy_touched_is_local() -> None:
    for peer in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        assert caller(peer, {"host": ["localhost"]}, []) == Caller(peer, is_local=True)
    for other in ("10.0.0.1", "fe80::1", "localhost", "127.1", "0177.0.0.1", None):
        assert not caller(other, {}, []).is_local


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"x-forwarded-for": ["203.0.113.7"]}, "203.0.113.7"),
        ({"x-forwarded-for": ["1.2.3.4, 203.0.113.7, 10.0.0.2"]}, "203.0.113.7"),
        ({"x-forwarded-for": ["1.2.3.4", "203.0.113.7"]}, "203.0.113.7"),
        ({"x-forwarded-for": ["203.0.113.7:4711"]}, "203.0.113.7"),
        ({"forwarded": ["for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;proto=http"]}, "198.51.100.17"),
        ({"forwarded": ['For="[2001:db8:cafe::17]:4711"']}, "2001:db8:cafe::17"),
        ({"x-real-ip": ["203.0.113.7"]}, "203.0.113.7"),
        ({"x-forwarded-for": ["203.0.113.7"], "forwarded": ["for=203.0.113.7"]}, "203.0.113.7"),
        ({"x-forwarded-for": ["203.0.113.7"], "forwarded": ["for=198.51.100.1"]}, None),
        ({"forwarded": ["for=unknown"]}, None),
        ({"forwarded": ["for=_hidden"]}, None),
        ({"x-forwarded-for": ["nobody, 10.0.0.2"]}, None),
        ({"via": ["1.1 proxy"]}, "10.0.0.1"),
    ],
)
def test_the_nearest_hop_that_is_no_trusted_proxy_is_who_sends(
    headers: dict[str, list[str]], address: str | None
) -> None:
    """RFC 7239; what stands before that hop, anybody may have written."""
    assert caller("10.0.0.1", headers, TRUSTED).address == address


def test_a_stranger_may_write_what_he_likes() -> None:
    assert caller("203.0.113.9", {"x-forwarded-for": ["127.0.0.1"]}, TRUSTED) == Caller("203.0.113.9", is_local=False)
