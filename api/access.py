"""Which requests may drive a front: its rules on path, Host, Origin, token and size (pure).

A browser sends the requests of any page that is open in it to any address that it can reach, this machine's loopback
too. `Origin` (RFC 6454 section 7) tells the pages of others; `Host` (RFC 9110 section 7.2) tells a name that somebody
pointed at this machine, so that his page and our API would have the same origin (DNS rebinding). Programs send no
Origin.
"""

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

MAX_BODY_BYTES: Final = 1 << 20
"""More than any SDP has."""

DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}

Headers = Mapping[str, Collection[str]]
"""The values of each header, by its name in lower case."""


class Refusal(Enum):
    """Why a request may not pass: the error type of the answer is the name, its HTTP status the value."""

    MALFORMED_PATH = 400
    HOST_NOT_ALLOWED = 421
    ORIGIN_NOT_ALLOWED = 403
    UNAUTHORIZED = 401
    PAYLOAD_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class Hosts:
    """By which names a front may be called: those listed, `localhost`, and addresses.

    Nobody can point an address at another, so that where we listen on all of them any will do; else it is the one on
    which we listen, or one of the loopback.
    """

    listening: str
    names: Collection[str] = ()

    def __contains__(self, host: str) -> bool:
        if host in {"localhost", self.listening} or host in self.names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or self.listening in {"0.0.0.0", "::"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What a request must have: None checks nothing. A page of the front itself is always welcome."""

    hosts: Hosts | None
    origins: Collection[str] | None = ()
    token: str | None = None
    max_body_bytes: int | None = MAX_BODY_BYTES

    def refusal(self, method: str, path: str, headers: Headers) -> Refusal | None:
        """Say why a request may not pass, None where it may. `path` is decoded; a preflight can carry no token."""
        if "\0" in path or "\\" in path or ".." in path.split("/"):
            return Refusal.MALFORMED_PATH
        if not self._allows_host(headers.get("host", ())):
            return Refusal.HOST_NOT_ALLOWED
        if not self._allows_origin(headers.get("origin", ()), headers.get("host", ())):
            return Refusal.ORIGIN_NOT_ALLOWED
        if self.token is not None and method != "OPTIONS" and not _has_token(headers, self.token):
            return Refusal.UNAUTHORIZED
        if self.max_body_bytes is not None and _content_length(headers) > self.max_body_bytes:
            return Refusal.PAYLOAD_TOO_LARGE
        return None

    def _allows_host(self, authorities: Collection[str]) -> bool:
        if self.hosts is None:
            return True
        hosts = [_host_and_port(authority, None) for authority in authorities]
        return len(hosts) == 1 and hosts[0] is not None and hosts[0][0] in self.hosts

    def _allows_origin(self, origins: Collection[str], authorities: Collection[str]) -> bool:
        if self.origins is None or "*" in self.origins:
            return True
        return all(origin in self.origins or _is_own(origin, authorities) for origin in map(str.lower, origins))


def is_below(path: str, base: str) -> bool:
    """Say whether a path is this one or below it."""
    return path == base or path.startswith(f"{base}/")


def _is_own(origin: str, authorities: Collection[str]) -> bool:
    """Say whether an origin is that of the front; its scheme may be a proxy's."""
    scheme, _, authority = origin.partition("://")
    port = DEFAULT_PORTS.get(scheme)
    theirs = _host_and_port(authority, port)
    return (
        port is not None and theirs is not None and [_host_and_port(each, port) for each in authorities] == [theirs]
    )


def _host_and_port(authority: str, default_port: int | None) -> tuple[str, int | None] | None:
    """Read `HOST[:PORT]` (RFC 3986 section 3.2.2), None where it is none; an IPv6 address comes without brackets."""
    if any(character in authority for character in "/?#@\\ "):
        return None
    try:
        parts = urlsplit(f"//{authority}")
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname, port or default_port) if parts.hostname else None


def _has_token(headers: Headers, token: str) -> bool:
    """Say whether a request shows the token (RFC 6750 section 2.1)."""
    for credentials in headers.get("authorization", ()):
        scheme, _, given = credentials.partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
            return True
    return False


def _content_length(headers: Headers) -> int:
    """Give the length that a request announces, 0 where it does not; the server has checked that it is a number."""
    return max((int(value) for value in headers.get("content-length", ()) if value.isdecimal()), default=0)
