"""The request policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.http.request_policy import AllowedHosts, Refusal, RequestPolicy

LOOPBACK = RequestPolicy(AllowedHosts("127.0.0.1", ("rokuga",)))
WILDCARD = RequestPolicy(AllowedHosts("0.0.0.0"))


@pytest.mark.parametrize(
    ("rules", "host", "is_allowed"),
    [
        (LOOPBACK, "127.0.0.1:3000", True),
        (LOOPBACK, "127.0.0.2", True),
        (LOOPBACK, "[::1]:3000", True),
        (LOOPBACK, "localhost", True),
        (LOOPBACK, "LocalHost:3000", True),
        (LOOPBACK, "rokuga:3000", True),
        (LOOPBACK, "ROKUGA", True),
        (LOOPBACK, "192.0.2.1:3000", False),
        (LOOPBACK, "evil.example", False),
        (LOOPBACK, "localhost.evil.example", False),
        (LOOPBACK, "127.0.0.1.evil.example", False),
        (LOOPBACK, "localhost.", False),
        (LOOPBACK, "rokuga.evil.example:3000", False),
        (LOOPBACK, "evil.example@127.0.0.1", False),
        (LOOPBACK, "evil.example#@127.0.0.1", False),
        (LOOPBACK, "2130706433", False),
        (LOOPBACK, "127.0.0.1:99999", False),
        (LOOPBACK, "127.0.0.1:x", False),
        (LOOPBACK, "[::1", False),
        (LOOPBACK, "", False),
        (LOOPBACK, ":3000", False),
        (RequestPolicy(AllowedHosts("192.0.2.1")), "192.0.2.1:3000", True),
        (RequestPolicy(AllowedHosts("recorder.example")), "recorder.example:3000", True),
        (WILDCARD, "192.0.2.1:3000", True),
        (WILDCARD, "[2001:db8::1]", True),
        (WILDCARD, "evil.example", False),
        (RequestPolicy(None), "evil.example", True),
    ],
)
def test_allowed_hosts_are_addresses_and_configured_names(rules: RequestPolicy, host: str, is_allowed: bool) -> None:
    refusal = rules.refusal("POST", "/", {"host": [host]})
    assert refusal is (None if is_allowed else Refusal.HOST_NOT_ALLOWED)


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1", "127.0.0.1"], ["127.0.0.1", "evil.example"]])
def test_two_host_headers_are_refused(hosts: list[str]) -> None:
    assert LOOPBACK.refusal("POST", "/", {"host": hosts}) is Refusal.HOST_NOT_ALLOWED


@pytest.mark.parametrize(
    ("origins", "origin", "is_allowed"),
    [
        ((), "http://127.0.0.1:3000", True),
        ((), "https://127.0.0.1:3000", True),  # behind a proxy that speaks TLS
        ((), "HTTP://127.0.0.1:3000", True),
        ((), "http://127.0.0.1:8080", False),
        ((), "http://127.0.0.1", False),
        ((), "http://localhost:3000", False),
        ((), "https://evil.example", False),
        ((), "http://127.0.0.1:3000.evil.example", False),
        ((), "http://evil.example@127.0.0.1:3000", False),
        ((), "null", False),
        ((), "", False),
        ((), "file://", False),
        ((), "chrome-extension://127.0.0.1:3000", False),
        (("https://studio.example",), "https://studio.example", True),
        (("https://studio.example",), "HTTPS://Studio.Example", True),
        (("https://studio.example",), "http://studio.example", False),
        (("https://studio.example",), "https://studio.example.evil.example", False),
        (("*",), "https://evil.example", True),
        (("*",), "null", True),
        (None, "https://evil.example", True),
    ],
)
def test_allowed_origins_are_our_own_and_configured_ones(
    origins: tuple[str, ...] | None, origin: str, is_allowed: bool
) -> None:
    rules = RequestPolicy(AllowedHosts("127.0.0.1"), origins)
    refusal = rules.refusal("POST", "/", {"host": ["127.0.0.1:3000"], "origin": [origin]})
    assert refusal is (None if is_allowed else Refusal.ORIGIN_NOT_ALLOWED)


def test_a_default_port_may_be_left_out() -> None:
    for host, origin in (("localhost:80", "http://localhost"), ("localhost", "https://localhost:443")):
        assert LOOPBACK.refusal("POST", "/", {"host": [host], "origin": [origin]}) is None


def test_each_of_two_origins_counts() -> None:
    headers = {"host": ["localhost"], "origin": ["http://localhost", "https://evil.example"]}
    assert LOOPBACK.refusal("POST", "/", headers) is Refusal.ORIGIN_NOT_ALLOWED


@pytest.mark.parametrize(
    ("authorization", "is_allowed"),
    [
        (["Bearer 0123456789abcdef"], True),
        (["bearer  0123456789abcdef"], True),
        (["Basic 0123456789abcdef"], False),
        (["Bearer 0123456789abcde"], False),
        (["Bearer"], False),
        (["0123456789abcdef"], False),
        (["Bearer 0123456789abcdéf"], False),
        ([], False),
    ],
)
def test_only_the_exact_token_is_accepted(authorization: list[str], is_allowed: bool) -> None:
    rules = RequestPolicy(None, None, "0123456789abcdef")
    refusal = rules.refusal("POST", "/", {"authorization": authorization})
    assert refusal is (None if is_allowed else Refusal.UNAUTHORIZED)


def test_a_preflight_needs_no_token() -> None:
    assert RequestPolicy(None, None, "0123456789abcdef").refusal("OPTIONS", "/", {}) is None


@pytest.mark.parametrize("path", ["/archives/../../etc/passwd", "/..", "/a/..", "/a\\..\\b", "/a\0b"])
def test_paths_with_parent_segments_are_refused(path: str) -> None:
    assert RequestPolicy(None, None).refusal("GET", path, {}) is Refusal.MALFORMED_PATH


def test_dots_inside_of_names_are_allowed() -> None:
    assert RequestPolicy(None, None).refusal("GET", "/archives/a..webm", {}) is None


def test_an_announced_length_above_the_limit_is_refused() -> None:
    rules = RequestPolicy(None, None, max_body_bytes=10)
    assert rules.refusal("POST", "/", {"content-length": ["10"]}) is None
    assert rules.refusal("POST", "/", {"content-length": ["11"]}) is Refusal.PAYLOAD_TOO_LARGE


@given(
    st.text(),
    st.dictionaries(st.sampled_from(["host", "origin", "authorization", "content-length"]), st.lists(st.text())),
)
def test_any_headers_are_allowed_or_refused(path: str, headers: dict[str, list[str]]) -> None:
    refusal = RequestPolicy(AllowedHosts("0.0.0.0"), (), "0123456789abcdef").refusal("POST", path, headers)
    assert isinstance(refusal, Refusal)
