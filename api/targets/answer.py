"""Answers of the API, and the errors that stand for themselves.

The errors are those of swidden, the framework under Sora's API; statuses and bodies are its to the byte
(swidden_api_handler.erl). Two of them say `type`, not `error_type`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

Json = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of one answer; the body is JSON or empty."""

    status: int
    body: bytes


def success(result: Json) -> Answer:
    """Give compact JSON, the keys of each object in alphabetical order as Erlang's maps have them."""
    return Answer(200, msgspec.json.encode(result, order="deterministic"))


def failure(error_type: str, reason: Json | None = None, status: int = 400) -> Answer:
    """Give an error with what is behind it, where something is."""
    error: dict[str, Any] = {"error_type": error_type}
    if reason is not None:
        error["error_reason"] = reason
    return Answer(status, msgspec.json.encode(error))


class TargetError(Exception):
    """A handler's refusal: `answer` is what the caller gets."""

    def __init__(self, error_type: str, reason: Json | None = None, status: int = 400) -> None:
        super().__init__(error_type)
        self.answer = failure(error_type, reason, status)


UNEXPECTED_METHOD: Final = Answer(400, b'{"type":"UnexpectedMethod"}')
MISSING_HEADER_NAME: Final = Answer(400, b'{"type":"MissingHeaderName"}')
MISSING_SERVICE: Final = failure("MissingService")
PAYLOAD_TOO_LARGE: Final = failure("PayloadTooLarge", status=413)
REQUEST_TIMEOUT: Final = failure("RequestTimeout", status=408)
NOT_CLUSTER_MAJORITY: Final = failure("NOT-CLUSTER-MAJORITY")
STORE_UNAVAILABLE: Final = failure("STORE-UNAVAILABLE", status=503)
HANDLER_EXCEPTION: Final = failure("HandlerException", status=500)
