"""JSON responses and error bodies, as the API and every refusal before it send them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Json = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class JsonResponse:
    """Status and body of a response. The body is JSON or empty."""

    status: int
    body: bytes


def success(result: Json) -> JsonResponse:
    """Return 200 with compact JSON. The keys of each object are sorted, as Erlang sorts those of its maps."""
    return JsonResponse(200, msgspec.json.encode(result, order="deterministic"))


def failure(error_type: str, reason: Json | None = None, status: int = 400) -> JsonResponse:
    """Return `{"error_type": ...}`, with `error_reason` where a reason is given."""
    error: dict[str, Any] = {"error_type": error_type}
    if reason is not None:
        error["error_reason"] = reason
    return JsonResponse(status, msgspec.json.encode(error))
