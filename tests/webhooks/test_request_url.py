"""URLs as they are requested."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.webhooks.request_url import request_url

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"))


@given(VISIBLE)
def test_whatever_ascii_is_in_path_and_query_stays(rest: str) -> None:
    assert request_url(f"https://example.com/{rest}").raw_path_qs == f"/{rest}"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://example.com", "/"),
        ("http://example.com?a=b", "/?a=b"),
        ("http://example.com/a#b?c", "/a"),
        ("http://example.com/録 é%C3%A9", "/%E9%8C%B2%20%C3%A9%C3%A9"),
    ],
)
def test_only_what_no_request_line_can_hold_is_escaped(text: str, target: str) -> None:
    """A fragment is no part of a request (RFC 9110 section 4.2.5)."""
    assert request_url(text).raw_path_qs == target


@pytest.mark.parametrize(
    ("text", "host", "port", "user"),
    [
        ("http://example.com/", "example.com", 80, None),
        ("https://user:p%40ss@[::1]:8443/a", "::1", 8443, "user"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, None),
    ],
)
def test_host_port_and_user_are_read(text: str, host: str, port: int, user: str | None) -> None:
    url = request_url(text)
    assert (url.raw_host, url.port, url.raw_user) == (host, port, user)


@pytest.mark.parametrize("text", ["", "x", "/hook", "http:/a", "http://[::1", "http://a:99999/"])
def test_what_is_no_absolute_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - by whatever words
        request_url(text)
