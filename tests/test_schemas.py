"""Everything that is sent and written is as the schemas say: whole, in parts, failed, and the report."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from rokuga.cli.__main__ import main
from rokuga.devtools.publisher.clip import Clip, read_clip
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks import schemas
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.schemas import json_schemas
from tests.pipeline import simulating

CLIP = read_clip(Path(__file__).parent.parent / "media-samples" / "vp9-opus.webm")
CONFIG = WebhookConfig(version="2023.2.0")

T = EventType
STARTED, REPORT, BEGUN = T.RECORDING_STARTED, T.RECORDING_REPORT, T.ARCHIVE_STARTED
WHOLE, PART, LAST, FAILED = T.ARCHIVE_AVAILABLE, T.SPLIT_ARCHIVE_AVAILABLE, T.SPLIT_ARCHIVE_END, T.ARCHIVE_FAILED


async def record(folder: Path, *, is_folder_lost: bool = False, **parameters: Any) -> list[Event]:
    """Record two who send both kinds and sound alone, and one who sends nothing; give what was told."""
    async with simulating(folder) as simulation:
        recording_id = await simulation.start(**parameters)
        if is_folder_lost:
            shutil.rmtree(folder / "archive" / recording_id)
            (folder / "archive" / recording_id).touch()  # no folder can be made there
        await simulation.publish(CLIP)
        await simulation.publish(Clip({"audio": CLIP.tracks["audio"]}, CLIP.duration_ns))
        silent = await simulation.publish(Clip({}, 0), negotiated=["video"])
        await simulation.run(3 * NS_PER_S)
        await silent.connection.close("NO-ERROR")
        return await simulation.stop()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"expire_time": 60, "metadata_json": '{"a":[null]}'}, {STARTED, BEGUN, WHOLE, FAILED, REPORT}),
        ({"split_duration": 1}, {STARTED, BEGUN, PART, LAST, WHOLE, FAILED, REPORT}),
        ({"split_duration": 1, "split_only": True}, {STARTED, BEGUN, PART, LAST, FAILED, REPORT}),
        ({"is_folder_lost": True}, {STARTED, BEGUN, FAILED, REPORT}),
    ],
)
async def test_what_is_told_and_written_is_as_the_schemas_say(
    tmp_path: Path, parameters: dict[str, Any], expected: set[EventType]
) -> None:
    """Every body of every event, and every JSON file; a file is the data of an event."""
    events = await record(tmp_path, **parameters)
    assert {event.type for event in events} >= expected | {T.CONNECTION_CREATED, T.CONNECTION_DESTROYED}
    for event in events:
        schemas.check_body(make_body(event, CONFIG))
    files = json_files(tmp_path)
    documents = [event.document for event in events]
    for file in files:
        schemas.check_file(file.name, file.read_bytes())
        assert msgspec.json.decode(file.read_bytes()) in documents
    told = [event.document for event in events if event.type in {WHOLE, PART, LAST, REPORT}]
    assert len(files) == len(told) - ("is_folder_lost" in parameters)


async def test_what_may_be_absent_is_there_when_it_is_due(tmp_path: Path) -> None:
    """A failure says what failed, a picture its size; sound alone has none, and parts alone no whole file."""
    lost = await record(made(tmp_path / "lost"), is_folder_lost=True)
    failed = documents_of(lost, FAILED)
    assert {"reason", "errno", "path"} <= failed[0].keys()
    assert documents_of(lost, REPORT)[0]["file_written"] is False
    assert len(documents_of(lost, REPORT)[0]["failed_archives"]) == 3
    limited = await record(made(tmp_path / "limited"), expire_time=60, metadata_json="null")
    assert documents_of(limited, STARTED)[0].items() >= {"metadata": None, "expire_time": 60}.items()
    assert "expired_at" in documents_of(limited, REPORT)[0]
    both, sound = sorted(documents_of(limited, WHOLE), key=lambda document: not document["video"])
    assert {"video_width", "video_height", "video_codec_type"} <= both.keys()
    assert not {"video_width", "video_height", "video_codec_type"} & sound.keys()
    parts = await record(made(tmp_path / "parts"), split_duration=1, split_only=True)
    assert "expired_at" not in documents_of(parts, STARTED)[0]
    for entry in documents_of(parts, REPORT)[0]["archives"]:
        assert "split_last_index" in entry
        assert not {"file_path", "filename", "metadata_file_path", "metadata_filename", "size"} & entry.keys()


def made(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir()
    return folder


def json_files(folder: Path) -> list[Path]:
    """Give every JSON file of the recording."""
    return list(folder.glob("archive/*/*.json"))


def documents_of(events: list[Event], event_type: EventType) -> list[Mapping[str, Any]]:
    """Give the documents of a type of event."""
    return [event.document for event in events if event.type is event_type]


@pytest.mark.parametrize(
    "change", [{"size": 1.5}, {"size": True}, {"more": 1}, {"stop_time_offset": "0"}, {"label": None}]
)
async def test_the_schemas_are_strict(tmp_path: Path, change: dict[str, Any]) -> None:
    """Another type, a null or an unknown field is found."""
    events = await record(tmp_path)
    (body, *_) = [make_body(event, CONFIG) for event in events if event.type is WHOLE]
    schemas.check_body(body)
    document = msgspec.json.decode(body)
    target = document if "label" in change else document["data"]
    target.update(change)
    with pytest.raises(msgspec.ValidationError):
        schemas.check_body(msgspec.json.encode(document))


def test_the_documents_in_the_repository_are_those_of_the_code(tmp_path: Path) -> None:
    """`rokuga schemas FOLDER` was run after the last change, and what it writes was put where it belongs."""
    main(["schemas", str(tmp_path)])
    root = Path(__file__).parent.parent
    kept = (root / "webhooks" / "json_schemas").iterdir()
    assert {file.name: file.read_text() for file in kept} == {
        file.name: file.read_text() for file in tmp_path.iterdir() if file.name != "openapi.json"
    }


async def test_other_readers_of_the_schemas_agree(tmp_path: Path) -> None:
    """A validator of JSON Schema takes every body and every file, and refuses one field more."""
    published = json_schemas()
    for name, schema in published.items():
        Draft202012Validator.check_schema(schema)
        assert schema["$ref"].startswith("#/$defs/"), name
    for event in await record(tmp_path, split_duration=1):
        validator = Draft202012Validator(published[f"webhook-{event.type}.json"])
        body = msgspec.json.decode(make_body(event, CONFIG))
        validator.validate(body)
        assert not validator.is_valid({**body, "colour": "red"})
    for file in json_files(tmp_path):
        start = next(start for start in schemas.FILES if file.name.startswith(start))
        Draft202012Validator(published[f"file-{start.removesuffix('-')}.json"]).validate(
            msgspec.json.decode(file.read_bytes())
        )
