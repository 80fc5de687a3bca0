"""Errors of the API.

Statuses and bodies are, byte for byte, those of swidden, the framework below Sora's API (swidden_api_handler.erl).
Two of them have the key `type` instead of `error_type`.
"""

from typing import Final

from rokuga.api.http.json_response import Json, JsonResponse, failure


class TargetError(Exception):
    """A handler refuses the request; `response` is what the caller receives."""

    def __init__(self, error_type: str, reason: Json | None = None, status: int = 400) -> None:
        super().__init__(error_type)
        self.response = failure(error_type, reason, status)


UNEXPECTED_METHOD: Final = JsonResponse(400, b'{"type":"UnexpectedMethod"}')
MISSING_HEADER_NAME: Final = JsonResponse(400, b'{"type":"MissingHeaderName"}')
MISSING_SERVICE: Final = failure("MissingService")
PAYLOAD_TOO_LARGE: Final = failure("PayloadTooLarge", status=413)
REQUEST_TIMEOUT: Final = failure("RequestTimeout", status=408)
NOT_CLUSTER_MAJORITY: Final = failure("NOT-CLUSTER-MAJORITY")
STORE_UNAVAILABLE: Final = failure("STORE-UNAVAILABLE", status=503)
HANDLER_EXCEPTION: Final = failure("HandlerException", status=500)
