"""The sender of a request that was forwarded: Forwarded (RFC 7239), X-Forwarded-For, X-Real-IP (pure).

Anybody can write these headers. They identify the sender only on a connection of a trusted proxy; on any connection
they show that the request was forwarded.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.api.http.address_text import Network, is_loopback, is_within, parse_address

MAX_HOPS: Final = 32

_PROXY_HEADERS: Final = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-envoy-external-address",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "cdn-loop",
    }
)
_FOR: Final = re.compile(r'(?:^|;)[ \t]*for=(?:"(?P<quoted>[^"\\]*)"|(?P<bare>[^";]*))', re.IGNORECASE)
_NODE: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<ipv4>[0-9.]+))(?::[0-9]{1,5})?")

Headers = Mapping[str, Collection[str]]
"""The values of each header, by its name in lower case."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request: its address, None if unknown, and whether it is certainly on this machine."""

    address: str | None
    is_local: bool


def is_forwarded(headers: Headers) -> bool:
    """Return whether a request was forwarded by a proxy."""
    return any(name in _PROXY_HEADERS or name.startswith("x-forwarded") for name in headers)


def caller(peer: str | None, headers: Headers, trusted: Sequence[Network]) -> Caller:
    """Return the sender of a request on a connection from `peer`. A forwarded request is never local."""
    if peer is None:
        return Caller(None, is_local=False)
    if not is_forwarded(headers):
        return Caller(peer, is_local=is_loopback(peer))
    return Caller(_sender(peer, headers, trusted), is_local=False)


def _sender(peer: str, headers: Headers, trusted: Sequence[Network]) -> str | None:
    if not is_within(peer, trusted):
        return peer
    reported = []
    for name, read in (("forwarded", _forwarded), ("x-forwarded-for", _forwarded_for)):
        if name in headers:
            reported.append(_last_untrusted(read(", ".join(headers[name])), trusted))
    if not reported and "x-real-ip" in headers:
        reported.append(_last_untrusted(_forwarded_for(", ".join(headers["x-real-ip"])), trusted))
    if not reported:
        return peer
    return reported[0] if len(set(reported)) == 1 else None


def _last_untrusted(hops: Sequence[str | None], trusted: Sequence[Network]) -> str | None:
    """Return the nearest hop that is not a trusted proxy: hops before it may be forged."""
    for hop in reversed(hops):
        if hop is None or not is_within(hop, trusted):
            return hop
    return hops[0] if hops else None


def _forwarded_for(text: str) -> list[str | None]:
    return [_node(hop.strip(" \t")) for hop in text.split(",")[-MAX_HOPS:]]


def _forwarded(text: str) -> list[str | None]:
    hops: list[str | None] = []
    for element in _split_unquoted(text)[-MAX_HOPS:]:
        found = [match["quoted"] or match["bare"] or "" for match in _FOR.finditer(element)]
        hops.append(_node(found[0]) if len(found) == 1 else None)
    return hops


def _split_unquoted(text: str) -> list[str]:
    """Split at commas outside of quotes; after an unclosed quote the rest is one element."""
    elements, quoted = [""], False
    for piece in re.split(r'(\\.|"|,)', text):
        if piece == "," and not quoted:
            elements.append("")
            continue
        quoted ^= piece == '"'
        elements[-1] += piece
    return elements


def _node(text: str) -> str | None:
    """Parse an address with or without a port; None for names, `unknown` and obfuscated identifiers."""
    match = _NODE.fullmatch(text)
    written = (match["ipv6"] or match["ipv4"]) if match else text
    return written if parse_address(written) is not None else None
