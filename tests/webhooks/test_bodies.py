"""Events to documented bodies."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.events import EventType
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from tests.material import event

CONFIG = WebhookConfig(label="Studio", node_name="rokuga@192.0.2.10", version="1.2.3")


def test_the_envelope_is_as_documented_and_compact() -> None:
    """Sora's envelope: type, id, timestamp, log_written, version, label, node_name, channel_id, data."""
    started = event(event_type=EventType.RECORDING_STARTED)
    assert (
        make_body(started, CONFIG)
        == (
            b'{"type":"recording.started","id":"%s","timestamp":"2024-03-01T00:00:00.000123Z","log_written":true,'
            b'"version":"1.2.3","label":"Studio","node_name":"rokuga@192.0.2.10","channel_id":"sora","data":{"number":0}}'
        )
        % started.id.encode()
    )


@pytest.mark.parametrize("event_type", EventType)
def test_events_about_a_connection_have_its_ids(event_type: EventType) -> None:
    body = msgspec.json.decode(make_body(event(event_type=event_type), CONFIG))
    names = {key: body[key] for key in ("session_id", "client_id", "bundle_id", "connection_id") if key in body}
    if event_type.startswith("recording."):
        assert names == {}
    else:
        assert names == {
            "session_id": "SESSION",
            "client_id": "CLIENT",
            "bundle_id": "BUNDLE",
            "connection_id": "CONNECTION",
        }


@pytest.mark.parametrize("event_type", [EventType.CONNECTION_CREATED, EventType.CONNECTION_DESTROYED])
def test_connection_events_have_the_role_and_fixed_flags(event_type: EventType) -> None:
    document = {"role": "sendonly", "audio": True}
    body = msgspec.json.decode(make_body(event(event_type=event_type, document=document), CONFIG))
    assert (body["role"], body["data"]) == ("sendonly", document)
    assert (body["multistream"], body["simulcast"], body["spotlight"]) == (True, False, False)


def test_log_written_is_false_for_a_line_that_was_not_written() -> None:
    assert msgspec.json.decode(make_body(event(), CONFIG, log_written=False))["log_written"] is False


@given(
    st.sampled_from(EventType),
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.none() | st.booleans() | st.integers(0, 2**53)),
)
def test_any_document_makes_a_body_that_is_always_the_same(
    event_type: EventType, document: dict[str, object]
) -> None:
    """A body that could not be made would hold up all events behind it."""
    one = event(event_type=event_type, document=document)
    assert make_body(one, CONFIG) == make_body(one, CONFIG)
    assert msgspec.json.decode(make_body(one, CONFIG))["data"] == document


@pytest.mark.parametrize("said", ["null", '{"user":"é"}', "[]"])
@pytest.mark.parametrize("event_type", [each for each in EventType if not each.startswith("recording.")])
def test_event_metadata_is_in_every_event_about_its_connection(event_type: EventType, said: str) -> None:
    """As it was said, null included."""
    about = event(event_type=event_type)
    assert about.connection is not None
    told = replace(about, connection=replace(about.connection, event_metadata_json=said))
    body = msgspec.json.decode(make_body(told, CONFIG))
    assert body["event_metadata"] == msgspec.json.decode(said)
