"""Dispatch of one request; the order of the checks is that of swidden (swidden_api_handler.erl, jesse.erl)."""

from collections.abc import Mapping

import structlog

from rokuga.api.http import json_text
from rokuga.api.http.json_response import Json, JsonResponse, success
from rokuga.api.protocols import RecordingService
from rokuga.api.targets import errors
from rokuga.api.targets.errors import TargetError
from rokuga.api.targets.table import Target, TargetName
from rokuga.recorder.store import MinorityError, StoreError

log = structlog.get_logger()


def parse_name(header: str | None) -> TargetName | JsonResponse:
    """Parse the `x-sora-target` header. Return an error response where it is missing or malformed."""
    if header is None:
        return errors.MISSING_HEADER_NAME
    try:
        return TargetName.parse(header)
    except ValueError:
        return errors.MISSING_SERVICE


async def dispatch(
    table: Mapping[TargetName, Target], recorder: RecordingService, name: TargetName, body: bytes
) -> JsonResponse:
    """Return the response to one request. An internal error is logged, and answered as HandlerException."""
    try:
        return success(await _handle(table.get(name), recorder, name, body))
    except TargetError as error:
        return error.response
    except MinorityError:
        return errors.NOT_CLUSTER_MAJORITY
    except StoreError as error:
        log.error("store unavailable, API request refused", target=".".join(name), reason=str(error))
        return errors.STORE_UNAVAILABLE
    except Exception:
        log.exception("internal error in an API request", target=".".join(name))
        return errors.HANDLER_EXCEPTION


async def _handle(target: Target | None, recorder: RecordingService, name: TargetName, body: bytes) -> Json:
    if not body:
        if target is None:
            raise TargetError("MissingTarget")
        if target.needs_body:
            raise TargetError("MissingTargetFunction", name._asdict())
        await recorder.read_barrier()
        return await target.handle(recorder, {})
    try:
        request = json_text.decode(body)
    except json_text.JsonError as error:
        raise TargetError("MalformedJSON") from error
    if target is None:
        raise TargetError("SchemaNotFound", name._asdict())
    if violations := target.schema.violations(request):
        raise TargetError("InvalidJSON", violations)
    await recorder.read_barrier()
    return await target.handle(recorder, request)
