"""One request in, one answer out: the order of the checks is swidden's (swidden_api_handler.erl, jesse.erl)."""

from collections.abc import Mapping

import structlog

from rokuga.api.http import json_text
from rokuga.api.protocols import RecordingService
from rokuga.api.targets import answer
from rokuga.api.targets.answer import Answer, TargetError, success
from rokuga.api.targets.table import Target, TargetName
from rokuga.recorder.store import MinorityError, StoreError

log = structlog.get_logger()


def parse_name(header: str | None) -> TargetName | Answer:
    """Read the `x-sora-target` header; the answer where it names nothing."""
    if header is None:
        return answer.MISSING_HEADER_NAME
    try:
        return TargetName.parse(header)
    except ValueError:
        return answer.MISSING_SERVICE


async def dispatch(
    table: Mapping[TargetName, Target], recorder: RecordingService, name: TargetName, body: bytes
) -> Answer:
    """Answer one request. Never raises: a fault of ours is HandlerException, logged with its traceback."""
    try:
        return success(await _handle(table.get(name), recorder, name, body))
    except TargetError as error:
        return error.answer
    except MinorityError:
        return answer.NOT_CLUSTER_MAJORITY
    except StoreError as error:
        log.error("a target is refused: the store is at fault", target=".".join(name), reason=str(error))
        return answer.STORE_UNAVAILABLE
    except Exception:
        log.exception("a target failed", target=".".join(name))
        return answer.HANDLER_EXCEPTION


async def _handle(target: Target | None, recorder: RecordingService, name: TargetName, body: bytes) -> answer.Json:
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
