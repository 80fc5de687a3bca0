"""The OpenAPI document compared with the table and with responses of the API."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from rokuga.api.targets.dispatch import dispatch
from rokuga.api.targets.openapi import document
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import TargetName, targets
from rokuga.cli.__main__ import main
from rokuga.recorder.connection import ArchiveProgress, ConnectionRequest
from rokuga.recorder.models import NodeState
from rokuga.recorder.negotiation import TrackConfig
from tests.fakes_recorder import FakeRecorder

DOCUMENT = document()
TABLE = targets(RecordingLimits(), "1.2.3")


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """Return a validator for a schema of the document, whose references it resolves."""
    jsonschema.Draft202012Validator.check_schema(schema)
    whole = DRAFT202012.create_resource(DOCUMENT)
    located = {**schema, "$id": "urn:openapi"} | {"components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(located, registry=Registry().with_resource("urn:openapi", whole))


def operation(name: TargetName) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][f"/#x-sora-target={name.header}"]["post"]
    return found


def schema(name: TargetName, status: int) -> dict[str, Any]:
    found: dict[str, Any] = operation(name)["responses"][str(status)]["content"]["application/json"]["schema"]
    return found


def test_every_target_has_its_path_and_no_other() -> None:
    assert len(DOCUMENT["paths"]) == len(TABLE)
    for name in TABLE:
        (header,) = operation(name)["parameters"]
        assert header["schema"] == {"const": name.header}


def test_the_command_schemas_writes_the_document_of_the_table(tmp_path: Path) -> None:
    main(["schemas", str(tmp_path)])
    assert json.loads((tmp_path / "openapi.json").read_bytes()) == json.loads(json.dumps(DOCUMENT))


def closed(schema: Any) -> Any:
    """Return a schema that allows no other keys than those that are named."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    has_names = schema.get("type") == "object" and "properties" in schema
    more = {"additionalProperties": False} if has_names else {}
    return {**more, **{key: closed(value) for key, value in schema.items()}}


async def recorder() -> FakeRecorder:
    """Return a recorder with nodes, connections and archives."""
    fake = FakeRecorder()
    fake.known_nodes = [NodeState("a", True, "1", "ws://a/", "http://a/"), NodeState("b", False)]
    for video in (None, TrackConfig("VP9", 500, {"profile_id": 0})):
        connection = await fake.connect(
            ConnectionRequest("sora", "sendonly", "CLIENT", None, TrackConfig("OPUS"), video)
        )
        connection.connected.set()
        fake.progress.append(ArchiveProgress(connection.identity, connection.audio, video, 3))
    return fake


@pytest.mark.parametrize("name", TABLE, ids=lambda name: name.operation)
async def test_responses_match_the_document(name: TargetName) -> None:
    """A success, and the errors of an empty request and of a repeated one."""
    fake = await recorder()
    body: dict[str, Any] = {"channel_id": "sora", "client_id": "CLIENT", "expire_time": 3600, "metadata": [1]}
    body["connection_id"] = fake.people[0].identity.connection_id
    if name.operation in {"StopRecording", "GetStartedRecording", "ListStartedRecording"}:
        await dispatch(TABLE, fake, TargetName("Sora", "20161101", "StartRecording"), json.dumps(body).encode())
    request = operation(name)["requestBody"]["content"]["application/json"]["schema"]
    statuses = []
    for sent in (body, body, {}, {"channel_id": 7}):
        answer = await dispatch(TABLE, fake, name, json.dumps(sent).encode())
        statuses.append(answer.status)
        validator(closed(schema(name, answer.status))).validate(json.loads(answer.body))
        if answer.status == 200:
            validator(request).validate(sent)
        elif b"InvalidJSON" in answer.body:
            assert not validator(request).is_valid(sent)
    assert statuses[0] == 200
