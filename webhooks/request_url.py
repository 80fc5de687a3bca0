"""URLs of webhooks as they are requested: the request target byte for byte, since a signature may cover it."""

import functools
import re
from typing import Final

from yarl import URL

_PARTS: Final = re.compile(r"(?P<scheme>[^:/?#]+)://(?P<authority>[^/?#]*)(?P<target>[^#]*)")
"""RFC 3986 appendix B; the fragment is no part of a request."""


@functools.lru_cache(maxsize=16)
def request_url(text: str) -> URL:
    """Read an http or https URL so that its path and query are sent as they are written. Raises ValueError.

    yarl decodes and encodes what it takes for equal (`%7E`, `%2F` in a query, dot segments) and drops an empty query;
    what it is given as an encoded path it leaves alone, so path and query are given as one. Only what cannot stand in
    a request line, spaces and what is not ASCII, is escaped as UTF-8.
    """
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError(f"{text!r} is no absolute URL")
    target = "".join(map(_escaped, parts["target"]))
    if not target.startswith("/"):
        target = f"/{target}"
    return URL(f"{parts['scheme']}://{parts['authority']}/").with_path(target, encoded=True)


def _escaped(character: str) -> str:
    if character.isascii() and character.isprintable() and character != " ":
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode())
