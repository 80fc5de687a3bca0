"""Refusals of requests as RFC 9457 problem documents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(eq=False)
class Problem(Exception):
    """A request is refused. `detail` says why; `headers` are headers of the response."""

    status: HTTPStatus
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """Return the document. Its type is about:blank: the status is the problem (RFC 9457 section 4.2.1)."""
        return msgspec.json.encode(
            {
                "type": "about:blank",
                "title": self.status.phrase,
                "status": int(self.status),
                "detail": self.detail.encode("utf-8", "replace").decode(),
            }
        )
