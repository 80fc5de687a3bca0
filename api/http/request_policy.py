"""The request policy: which requests a port answers, by path, Host, Origin, token and size (pure).

A browser sends the requests of any page to any address that it can reach, loopback included. `Origin` (RFC 6454
section 7) shows requests of foreign pages. `Host` (RFC 9110 section 7.2) shows DNS rebinding: a foreign name that
resolves to this machine, so that a foreign page has the origin of our API. Programs send no Origin.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rokuga.api.http.address_text import Authority, is_loopback, parse_address, parse_authority, parse_origin

MAX_BODY_BYTES: Final = 1 << 20
"""Larger than any SDP."""

DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}

Headers = Mapping[str, Collection[str]]
"""The values of each header, by its name in lower case."""


_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)[ \t]*", re.IGNORECASE | re.ASCII)


class Refusal(Enum):
    """Why a request is refused: status and reason. The answer's `error_type` is the name."""

    MALFORMED_PATH = (400,)
    HOST_NOT_ALLOWED = (421,)
    ORIGIN_NOT_ALLOWED = (403,)
    LOOPBACK_ONLY = (403, "api_loopback_address_only is true, and this may come from another machine: set a token")
    UNAUTHORIZED = (401,)
    PAYLOAD_TOO_LARGE = (413,)

    def __init__(self, status: int, reason: str | None = None) -> None:
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The hosts in a Host header that are allowed: `names`, `localhost`, the `listening` address, and loopback.

    Where the port listens on all addresses every address is allowed: DNS rebinding needs a name.
    """

    listening: str
    names: Collection[str] = ()

    def __contains__(self, host: str) -> bool:
        if host in {"localhost", self.listening} or host in self.names:
            return True
        return is_loopback(host) or (self.listening in {"0.0.0.0", "::"} and parse_address(host) is not None)


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """The rules for a path. None turns a check off. Pages of the port's own origin are always allowed.

    `allows_missing_host` is for probes: HTTP/1.0 has no Host, and no browser omits it. `is_local_only` refuses
    requests that may come from another machine.
    """

    hosts: AllowedHosts | None
    origins: Collection[str] | None = ()
    token: str | None = None
    max_body_bytes: int | None = MAX_BODY_BYTES
    allows_missing_host: bool = False
    is_local_only: bool = False

    def refusal(self, method: str, path: str, headers: Headers, *, is_local: bool = True) -> Refusal | None:
        """Return why a request is refused, None where it is allowed.

        `path` is decoded. OPTIONS needs no token: a CORS preflight cannot have one.
        """
        if "\0" in path or "\\" in path or ".." in path.split("/"):
            return Refusal.MALFORMED_PATH
        if not self._allows_host(headers.get("host", ())):
            return Refusal.HOST_NOT_ALLOWED
        if not self._allows_origin(headers.get("origin", ()), headers.get("host", ())):
            return Refusal.ORIGIN_NOT_ALLOWED
        if refusal := self._refusal_of_caller(method, headers, is_local=is_local):
            return refusal
        if self.max_body_bytes is not None and _content_length(headers) > self.max_body_bytes:
            return Refusal.PAYLOAD_TOO_LARGE
        return None

    def _refusal_of_caller(self, method: str, headers: Headers, *, is_local: bool) -> Refusal | None:
        if self.is_local_only and not is_local:
            return Refusal.LOOPBACK_ONLY
        if (
            self.token is None
            or method == "OPTIONS"
            or has_bearer_token(headers.get("authorization", ()), self.token)
        ):
            return None
        return Refusal.UNAUTHORIZED

    def _allows_host(self, authorities: Collection[str]) -> bool:
        if self.hosts is None or (self.allows_missing_host and not authorities):
            return True
        hosts = [parse_authority(authority) for authority in authorities]
        return len(hosts) == 1 and hosts[0] is not None and hosts[0].host in self.hosts

    def _allows_origin(self, origins: Collection[str], authorities: Collection[str]) -> bool:
        if self.origins is None or "*" in self.origins:
            return True
        return all(
            origin in self.origins or _is_same_origin(origin, authorities) for origin in map(str.lower, origins)
        )


def is_below(path: str, base: str) -> bool:
    """Return whether a path is `base` or below it."""
    return path == base or path.startswith(f"{base}/")


def _is_same_origin(origin: str, authorities: Collection[str]) -> bool:
    """Return whether an origin has the host and port of the request; its scheme may be that of a proxy."""
    parsed = parse_origin(origin)
    port = DEFAULT_PORTS.get(parsed[0]) if parsed is not None else None
    if parsed is None or port is None:
        return False
    hosts = [parse_authority(each) for each in authorities]
    return [_with_port(each, port) for each in hosts if each is not None] == [_with_port(parsed[1], port)]


def _with_port(authority: Authority, default_port: int) -> Authority:
    return Authority(authority.host, default_port if authority.port is None else authority.port)


def has_bearer_token(credentials: Collection[str], token: str) -> bool:
    """Return whether there is exactly one Authorization header, with this token (RFC 6750 section 2.1)."""
    matches = [_BEARER.fullmatch(each) for each in credentials]
    return len(matches) == 1 and matches[0] is not None and hmac.compare_digest(matches[0][1], token)


def _content_length(headers: Headers) -> int:
    """Return the announced length, 0 without one. The server has checked that it is a number."""
    return max((int(value) for value in headers.get("content-length", ()) if value.isdecimal()), default=0)
