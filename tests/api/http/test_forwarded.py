"""The sender of a forwarded request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.http.address_text import parse_network
from rokuga.api.http.forwarded import Caller, caller

TRUSTED = [network for text in ("127.0.0.1", "10.0.0.0/8", "::1") if (network := parse_network(text))]


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"x-forwarded-for": ["192.0.2.1"]}, "192.0.2.1"),
        ({"x-forwarded-for": ["192.0.2.1:4711"]}, "192.0.2.1"),
        ({"x-forwarded-for": ["2001:db8::1"]}, "2001:db8::1"),
        ({"x-forwarded-for": ["127.0.0.1, 192.0.2.1"]}, "192.0.2.1"),
        ({"x-forwarded-for": ["127.0.0.1", "192.0.2.1, 10.1.2.3"]}, "192.0.2.1"),
        ({"x-forwarded-for": ["10.9.9.9, 10.1.2.3"]}, "10.9.9.9"),
        ({"x-forwarded-for": ["unknown"]}, None),
        ({"x-forwarded-for": ["192.0.2.1, nonsense"]}, None),
        ({"x-forwarded-for": [""]}, None),
        ({"forwarded": ["for=192.0.2.1"]}, "192.0.2.1"),
        ({"forwarded": ['for="[2001:db8::1]:4711";proto=https;by=10.0.0.1']}, "2001:db8::1"),
        ({"forwarded": ["For=127.0.0.1, for=192.0.2.1;host=a"]}, "192.0.2.1"),
        ({"forwarded": ['for=127.0.0.1;host="a,for=10.0.0.1", for=192.0.2.1']}, "192.0.2.1"),
        ({"forwarded": ["for=_hidden"]}, None),
        ({"forwarded": ["for=192.0.2.1;for=192.0.2.2"]}, None),
        ({"forwarded": ["proto=https"]}, None),
        ({"x-real-ip": ["192.0.2.1"]}, "192.0.2.1"),
        ({"x-real-ip": ["192.0.2.9"], "x-forwarded-for": ["192.0.2.1"]}, "192.0.2.1"),
        ({"forwarded": ["for=192.0.2.1"], "x-forwarded-for": ["192.0.2.1"]}, "192.0.2.1"),
        ({"forwarded": ["for=192.0.2.1"], "x-forwarded-for": ["192.0.2.2"]}, None),
        ({"via": ["1.1 proxy"]}, "127.0.0.1"),
    ],
)
def test_a_trusted_proxy_reports_the_client(headers: dict[str, list[str]], address: str | None) -> None:
    assert caller("127.0.0.1", headers, TRUSTED) == Caller(address, is_local=False)


@pytest.mark.parametrize(
    "header",
    [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded",
        "x-real-ip",
        "via",
        "cdn-loop",
    ],
)
def test_a_forwarded_request_is_never_local(header: str) -> None:
    for value in ("for=127.0.0.1", "127.0.0.1", "https", ""):
        assert not caller("127.0.0.1", {header: [value]}, ()).is_local
        assert not caller("127.0.0.1", {header: [value]}, TRUSTED).is_local


def test_headers_of_untrusted_peers_are_ignored() -> None:
    assert caller("192.0.2.1", {"x-forwarded-for": ["127.0.0.1"]}, TRUSTED) == Caller("192.0.2.1", is_local=False)
    assert caller("192.0.2.1", {}, TRUSTED) == Caller("192.0.2.1", is_local=False)
    assert caller("127.0.0.1", {}, ()) == Caller("127.0.0.1", is_local=True)
    assert caller("::ffff:127.0.0.1", {}, ()).is_local
    assert caller(None, {}, ()) == Caller(None, is_local=False)


@given(st.sampled_from(["forwarded", "x-forwarded-for", "x-real-ip"]), st.lists(st.text()))
def test_any_forwarding_header_is_not_local(header: str, values: list[str]) -> None:
    assert not caller("127.0.0.1", {header: values}, TRUSTED).is_local
