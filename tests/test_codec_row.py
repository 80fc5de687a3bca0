"""Signalling, permission, SDP, schemas and the page take what they know of a codec from its row of the table."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rokuga.api.pages.site import Site
from rokuga.api.signaling.client_messages import ConnectMessage, parse_message, requested_tracks
from rokuga.api.signaling.permission import apply_answer, auth_webhook_request
from rokuga.api.targets.json_schema import TRACKS as OPENAPI_TRACKS
from rokuga.recorder.archive.metadata import tracks_document
from rokuga.recorder.codecs.table import CODECS, DEFAULT_CODECS, Codec, names_of
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate, LocalTransport, MediaOffer, write_offer
from rokuga.recorder.webrtc.sdp.whip_offer import read_offer
from rokuga.webhooks import schemas

ROOT = Path(__file__).parent.parent
VALUES: dict[type, Any] = {int: 1, bool: True, str: "42e01f"}
LOCAL = LocalTransport("ufrag", "password" * 4, "AB:" * 31 + "AB", [Candidate("192.0.2.1", 5004)])

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))


def params_of(codec: Codec) -> dict[str, Any]:
    return {name: VALUES[kind] for name, kind in codec.params.items()}


def track_of(codec: Codec) -> TrackConfig:
    return TrackConfig(codec.name, codec.bit_rates_kbps[0], params_of(codec))


def connect(codec: Codec, track: dict[str, Any]) -> ConnectMessage:
    other = {"audio": False, "video": False, codec.kind: track}
    message = parse_message(msgspec.json.encode({"type": "connect", "role": "sendonly", "channel_id": "c", **other}))
    assert isinstance(message, ConnectMessage)
    return message


def track_request(codec: Codec) -> dict[str, Any]:
    return {"codec_type": codec.name, "bit_rate": codec.bit_rates_kbps[0], codec.params_key: params_of(codec)}


@each_codec
def test_signalling_reads_the_params_of_each_codec(codec: Codec) -> None:
    assert track_of(codec) in requested_tracks(connect(codec, track_request(codec)))


@each_codec
def test_an_answer_of_the_authentication_webhook_may_set_the_params_of_each_codec(codec: Codec) -> None:
    flat = {f"{codec.kind}_{name}": value for name, value in track_request(codec).items()}
    allowed = apply_answer(connect(codec, {}), {"allowed": True, **flat}).connect
    assert track_of(codec) in requested_tracks(allowed)
    if codec.params:
        assert auth_webhook_request(allowed, "ID", {})[f"{codec.kind}_{codec.params_key}"] == params_of(codec)


@each_codec
def test_each_codec_is_offered_and_its_own_offer_is_understood(codec: Codec) -> None:
    tracks: dict[str, TrackConfig | None] = {"audio": None, "video": None, codec.kind: track_of(codec)}
    offer = MediaOffer(tracks["audio"], tracks["video"], "sendrecv")
    text = write_offer(offer, LOCAL, 1).replace("a=ice-lite\r\n", "")
    assert f"a=rtpmap:{codec.payload_type} {codec.encoding}/{codec.clock_rate_hz}" in text
    assert read_offer(text).codec_types == {codec.kind: (codec.name,)}


@each_codec
def test_the_schemas_of_events_describe_each_codec(codec: Codec) -> None:
    tracks: dict[str, TrackConfig | None] = {"audio": None, "video": None, codec.kind: track_of(codec)}
    document = tracks_document(tracks["audio"], tracks["video"])
    msgspec.convert(document, schemas.struct("Tracks", schemas.TRACKS))
    assert document.keys() > {f"{codec.kind}_codec_type", f"{codec.kind}_bit_rate"}


@each_codec
def test_the_description_of_the_api_names_each_codec(codec: Codec) -> None:
    properties = OPENAPI_TRACKS[codec.kind]["oneOf"][1]["properties"]
    assert codec.name in properties["codec_type"]["enum"]
    assert codec.params_key in properties


@each_codec
def test_the_page_offers_the_video_codecs_with_the_default_first(codec: Codec) -> None:
    page = Site().body("index.html").decode()
    options = re.findall("<option>(.*?)</option>", page[page.index('name="codec"') :].partition("</select>")[0])
    assert options == list(names_of("video"))
    assert options[0] == DEFAULT_CODECS["video"]
    assert codec.kind == "audio" or codec.name in options


def words(path: Path) -> Iterator[str]:
    """Return the strings and names of a module, or the words of a file of the page; docstrings and comments not."""
    if path.suffix != ".py":
        yield from re.findall(r"\w+", path.read_text())
        return
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name


TABLES = ("recorder/codecs/", "recorder/archive/webm/codecs.py", "devtools/publisher/")
"""The table and the codecs themselves, the container's own table, and the clips that the publisher can send."""


def test_no_module_but_the_tables_names_a_codec() -> None:
    names = {name for row in CODECS.values() for name in (row.name, row.params_key, f"{row.kind}_{row.params_key}")}
    sources = [
        path
        for folder in ("api", "webhooks", "recorder", "devtools", "cli")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".js", ".html"} and not str(path.relative_to(ROOT)).startswith(TABLES)
    ]
    assert len(sources) > 200
    assert [str(path.relative_to(ROOT)) for path in sources if names & set(words(path))] == []
