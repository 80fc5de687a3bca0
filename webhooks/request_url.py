"""URLs of webhooks: the request target is sent byte for byte as configured, since a signature may cover it."""

import functools
import re
from typing import Final

from yarl import URL

_PARTS: Final = re.compile(r"(?P<scheme>[^:/?#]+)://(?P<authority>[^/?#]*)(?P<target>[^#]*)")
"""RFC 3986 appendix B; the fragment is no part of a request."""


@functools.lru_cache(maxsize=16)
def request_url(text: str) -> URL:
    """Parse an http or https URL so that its path and query are sent as they are written. Raises ValueError.

    yarl normalizes equivalent forms (`%7E`, `%2F` in a query, dot segments) and drops an empty query, but leaves an
    encoded path as it is: path and query are passed as one encoded path. Only spaces and what is not ASCII, which a
    request line cannot contain, are escaped as UTF-8.
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
