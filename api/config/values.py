"""Parsers of configured values: text in, value out, ValueError with the violated rule (pure).

Times and sizes have a unit after a space, as in sora.conf: `5 s`, `1 min`, `100 MB`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rokuga.api.http.address_text import Network, is_host_name, parse_address, parse_network, parse_origin
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.recorder.webrtc.transport.addresses import parse_media_address

Parser = Callable[[str], Any]

TIME_UNITS_NS: Final[Mapping[str, int]] = {
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
SIZE_UNITS_BYTES: Final[Mapping[str, int]] = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

_QUANTITY: Final = re.compile("([0-9]{1,12}) +([A-Za-z]+)")
_NUMBER: Final = re.compile("[0-9]{1,15}")
_MIN_TOKEN: Final = 16
_TOKEN: Final = re.compile(f"[A-Za-z0-9._~+/-]{{{_MIN_TOKEN},}}=*")


def text(value: str) -> str:
    """Accept any text."""
    return value


def flag(value: str) -> bool:
    """Parse `true` or `false`."""
    if value not in {"true", "false"}:
        raise ValueError("is neither true nor false")
    return value == "true"


def not_flag(value: str) -> bool:
    """Parse `true` or `false`, and return the opposite."""
    return not flag(value)


def whole_number(least: int, most: int) -> Parser:
    """Return a parser of whole numbers from `least` to `most`."""

    def parse(value: str) -> int:
        if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
            raise ValueError(f"is not a whole number from {least} to {most}")
        return int(value)

    return parse


def duration_ns(value: str) -> int:
    """Parse a time with its unit, above 0, into nanoseconds."""
    duration = _quantity(value, TIME_UNITS_NS, "5 s")
    if not duration:
        raise ValueError("is not longer than 0")
    return duration


def seconds(value: str) -> int:
    """Parse whole seconds, at least 1, with or without a unit."""
    whole, rest = (int(value), 0) if _NUMBER.fullmatch(value) else divmod(duration_ns(value), NS_PER_S)
    if rest or not whole:
        raise ValueError("is not a number of whole seconds of at least 1")
    return whole


def size_bytes(value: str) -> int:
    """Parse bytes, or a size with its unit."""
    return int(value) if _NUMBER.fullmatch(value) else _quantity(value, SIZE_UNITS_BYTES, "100 MB")


def file_mode(value: str) -> int:
    """Parse permissions in octal digits, as chmod does."""
    if not re.fullmatch("0?[0-7]{3}", value):
        raise ValueError("is not a file mode such as 0640")
    return int(value, 8)


def path(value: str) -> Path:
    """Parse a path; `~` is the home directory, a relative path starts at the working directory."""
    if "\0" in value:
        raise ValueError("is not a path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("has no home folder to begin at") from error


def media_addresses(value: str) -> tuple[str, ...]:
    """Parse addresses, names or HOST:PORT, separated by commas or spaces."""
    addresses = tuple(value.replace(",", " ").split())
    for address in addresses:
        parse_media_address(address)
    return addresses


def header_text(value: str) -> str:
    """Accept text that an HTTP header can contain."""
    if not (value.isascii() and value.isprintable()):
        raise ValueError("holds characters that no HTTP header can carry")
    return value


def host_names(value: str) -> tuple[str, ...]:
    """Parse host names or addresses without ports, separated by commas or spaces."""
    names = tuple(value.lower().replace(",", " ").split())
    for name in names:
        if not is_host_name(name) and parse_address(name) is None:
            raise ValueError(f"has {name}, which is not a host name without a port")
    return names


def web_origins(value: str) -> tuple[str, ...]:
    """Parse web origins, separated by commas or spaces; `*` is any."""
    origins = tuple(value.lower().replace(",", " ").split())
    for origin in origins:
        if origin != "*" and parse_origin(origin) is None:
            raise ValueError(f"has {origin}, which is not an origin as in https://example.com:8080")
    return origins


def networks(value: str) -> tuple[Network, ...]:
    """Parse addresses and networks as in 10.0.0.0/8, separated by commas or spaces."""
    found = []
    for text in value.replace(",", " ").split():
        network = parse_network(text)
        if network is None:
            raise ValueError(f"has {text}, which is neither an address nor a network as in 10.0.0.0/8")
        found.append(network)
    return tuple(found)


def bearer_token(value: str) -> str:
    """Accept a token for `Authorization: Bearer` (RFC 6750 section 2.1) that is long enough not to be guessed."""
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"is not a token of at least {_MIN_TOKEN} letters, digits and any of -._~+/=")
    return value


def http_urls(value: str) -> tuple[str, ...]:
    """Parse http or https URLs without a path, separated by commas or spaces."""
    return tuple(http_url(each).rstrip("/") for each in value.replace(",", " ").split())


def basic_auth(value: str) -> str:
    """Accept user:password (RFC 7617 section 2)."""
    if ":" not in value or not value.isprintable():
        raise ValueError("is not of the form user:password")
    return value


def one_of(*choices: str) -> Parser:
    """Return a parser that accepts one of these words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return value

    return parse


def http_url(value: str) -> str:
    """Accept an absolute http or https URL."""
    url = urlsplit(value)
    is_clean = value.isprintable() and not any(character.isspace() for character in value)
    if not is_clean or url.scheme not in {"http", "https"} or not url.hostname or url.port == 0:
        raise ValueError("is not an http or https URL")
    return value


def _quantity(value: str, units: Mapping[str, int], example: str) -> int:
    match = _QUANTITY.fullmatch(value)
    if not match or match[2] not in units:
        raise ValueError(f"is not a number, a space and a unit ({', '.join(units)}) as in {example}")
    return int(match[1]) * units[match[2]]
