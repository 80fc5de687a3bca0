"""The conversation with captured messages of real clients and the expected responses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.signaling.conversation import (
    ANSWER_TIMEOUT_NS,
    PING_INTERVAL_NS,
    Accept,
    Action,
    Close,
    Conversation,
    Join,
    Open,
    Phase,
    Send,
)
from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.negotiation import TrackConfig

VECTORS = Path(__file__).parents[2] / "vectors" / "signaling"

OPUS, VP9 = TrackConfig("OPUS"), TrackConfig("VP9")
VP9_500 = TrackConfig("VP9", 500)

REQUESTS = {
    "python_sdk": ConnectionRequest("lab2", "sendonly", audio=OPUS, video=VP9_500),
    "python_sdk_audio_only": ConnectionRequest("lab", "sendonly", audio=OPUS),
    "python_sdk_simulcast": ConnectionRequest("lab", "sendonly", audio=OPUS, video=TrackConfig("VP8", 500)),
    "python_sdk_data_channels": ConnectionRequest("lab", "sendonly", audio=OPUS, video=VP9_500),
    "python_sdk_rejects_video": ConnectionRequest("lab", "sendonly", audio=OPUS, video=TrackConfig("H264", 500)),
    "python_sdk_sendrecv": ConnectionRequest("lab", "sendrecv", audio=OPUS, video=VP9_500),
    "js_sdk": ConnectionRequest("lab1", "sendonly", audio=OPUS, video=VP9),
    "js_sdk_video_only": ConnectionRequest("r", "sendonly", video=VP9),
    "js_sdk_recvonly": ConnectionRequest("r", "recvonly", audio=OPUS, video=VP9),
    "js_sdk_mdns": ConnectionRequest("l1", "sendonly", audio=OPUS, video=VP9),
    "js_sdk_spotlight": ConnectionRequest("r", "sendonly", audio=OPUS, video=VP9),
}


def frames(name: str) -> list[str]:
    return (VECTORS / f"{name}.jsonl").read_text().splitlines()


def kind(frame: str) -> str:
    """Return the type of a message, also of invalid JSON."""
    match = re.search('"type": "([a-z]+)"(?=, "(?:role|channel_id|sdp|candidate|stats|reason|video)|}$)', frame)
    assert match is not None
    return match[1]


def test_a_client_is_redirected_and_closed() -> None:
    """Its connect is checked; the webhook is not called."""
    urls = iter(["ws://b/signaling"])
    talk = Conversation(0, needs_permission=True, redirect_url=lambda: next(urls))
    actions = talk.receive('{"type": "connect", "role": "sendonly", "channel_id": "sora", "redirect": null}', 0)
    assert actions == [Send('{"type":"redirect","location":"ws://b/signaling"}'), Close(1000, "REDIRECT")]
    assert talk.receive('{"type": "pong"}', 0) == []


def test_a_redirected_client_is_not_redirected_again() -> None:
    """With `redirect` as sora_sdk sends it."""
    talk = Conversation(0, redirect_url=lambda: "ws://b/signaling")
    (action,) = talk.receive('{"type": "connect", "role": "sendonly", "channel_id": "sora", "redirect": true}', 0)
    assert isinstance(action, Open)


@pytest.mark.parametrize("wrong", [{"channel_id": "x" * 256}, {"audio": False, "video": False}, {"role": "none"}])
def test_an_invalid_connect_is_refused_before_redirection(wrong: dict[str, Any]) -> None:
    talk = Conversation(0, redirect_url=lambda: "ws://b/signaling")
    (action,) = talk.receive(json.dumps({"type": "connect", "role": "sendonly", "channel_id": "sora", **wrong}), 0)
    assert isinstance(action, Close)
    assert action.code == 4490


def test_every_vector_is_used() -> None:
    assert {path.stem for path in VECTORS.glob("*.jsonl")} == set(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_captured_conversations_of_real_clients_are_processed(name: str) -> None:
    """From connect to disconnect, with candidates with and without sdpMid, and of mDNS."""
    talk = Conversation(0)
    for frame in frames(name):
        actions = talk.receive(frame, 0)
        match kind(frame):
            case "connect":
                assert actions == [Open(REQUESTS[name], None)]
                assert talk.opened("the offer", 0) == [Send("the offer")]
            case "answer":
                assert actions == [Accept(json.loads(frame)["sdp"])]
                assert talk.connected(0) == [Join()]
            case "candidate" | "pong":
                assert actions == []
            case "disconnect":
                assert actions == [Close(1000, "TYPE-DISCONNECT", json.loads(frame).get("reason"))]
    assert talk.phase is (Phase.END if name == "python_sdk_rejects_video" else Phase.CLOSED)


def connect(**more: Any) -> str:
    return json.dumps({"type": "connect", "role": "sendonly", "channel_id": "sora", **more})


def at(phase: Phase) -> Conversation:
    """Return a conversation in a phase, with all messages at time 0."""
    talk = Conversation(0)
    if phase is not Phase.CONNECT:
        talk.receive(connect(), 0)
    if phase in {Phase.ANSWER, Phase.MEDIA, Phase.END}:
        talk.opened("the offer", 0)
    if phase in {Phase.MEDIA, Phase.END}:
        talk.receive('{"type":"answer","sdp":"v=0"}', 0)
    if phase is Phase.END:
        talk.connected(0)
    assert talk.phase is phase
    return talk


WAITING = [Phase.CONNECT, Phase.OPENED, Phase.ANSWER, Phase.MEDIA, Phase.END]


@pytest.mark.parametrize("phase", WAITING)
def test_a_disconnect_closes_in_every_phase(phase: Phase) -> None:
    """Clients expect 1000 TYPE-DISCONNECT."""
    talk = at(phase)
    closing = Close(1000, "TYPE-DISCONNECT", "NO-ERROR")
    assert talk.receive('{"type":"disconnect","reason":"NO-ERROR"}', 1) == [closing]
    assert talk.deadline_ns is None
    assert talk.receive(connect(), 2) == []
    assert talk.ended("MEDIA-TIMEOUT") == []


@pytest.mark.parametrize(("reason", "kept"), [({"a": 1}, None), (None, None), ("x" * 1000, "x" * 123)])
def test_the_reason_of_a_disconnect_is_a_short_text(reason: object, kept: str | None) -> None:
    text = json.dumps({"type": "disconnect", "reason": reason})
    assert at(Phase.END).receive(text, 1) == [Close(1000, "TYPE-DISCONNECT", kept)]


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.ANSWER])
def test_a_silent_client_times_out(phase: Phase) -> None:
    talk = at(phase)
    assert talk.deadline_ns == ANSWER_TIMEOUT_NS
    assert talk.tick(ANSWER_TIMEOUT_NS - 1) == []
    assert talk.tick(ANSWER_TIMEOUT_NS) == [Close(4490, "TIMEOUT")]


def test_the_timeout_of_the_answer_starts_at_the_offer() -> None:
    talk = at(Phase.OPENED)
    talk.opened("the offer", 7)
    assert talk.deadline_ns == 7 + ANSWER_TIMEOUT_NS


def test_candidates_do_not_extend_the_timeout() -> None:
    talk = at(Phase.ANSWER)
    talk.receive('{"type":"candidate","candidate":""}', ANSWER_TIMEOUT_NS - 1)
    assert talk.tick(ANSWER_TIMEOUT_NS) == [Close(4490, "TIMEOUT")]


def test_pings_are_sent_every_five_seconds_after_dtls() -> None:
    """momo disconnects after 60 s without one. After a late ping no missed ones are sent."""
    talk = at(Phase.END)
    assert talk.tick(PING_INTERVAL_NS - 1) == []
    for now_ns in (PING_INTERVAL_NS, 2 * PING_INTERVAL_NS, 9 * PING_INTERVAL_NS):
        assert talk.tick(now_ns) == [Send('{"type":"ping","stats":false}')]
        assert talk.deadline_ns == now_ns + PING_INTERVAL_NS


@pytest.mark.parametrize("phase", [Phase.ANSWER, Phase.MEDIA, Phase.END])
@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"pong"}',
        '{"type":"pong","stats":null}',
        '{"type":"pong","stats":[{"remoteTimestamp":-inf,"x":nan}]}',
        '{"type":"candidate","candidate":"nonsense"}',
        '{"type":"candidate"}',
        '{"type":"stats","reports":[]}',
        '{"type":"of-the-future","deep":{"er":[1]}}',
    ],
)
def test_unknown_messages_are_ignored(phase: Phase, frame: str) -> None:
    talk = at(phase)
    assert talk.receive(frame, 1) == []
    assert talk.phase is phase


@pytest.mark.parametrize(
    ("phase", "frame", "reason"),
    [
        (Phase.CONNECT, '{"type":"answer","sdp":"v=0"}', "the first message has to be a connect"),
        (Phase.CONNECT, '{"type":"pong"}', "the first message has to be a connect"),
        (Phase.CONNECT, '{"type":"hello"}', "the first message has to be a connect"),
        (Phase.ANSWER, connect(), "there was a connect before"),
        (Phase.END, connect(), "there was a connect before"),
        (Phase.OPENED, '{"type":"answer","sdp":"v=0"}', "an answer is not expected now"),
        (Phase.END, '{"type":"answer","sdp":"v=0"}', "an answer is not expected now"),
        (Phase.ANSWER, '{"type":"answer"}', "Object missing required field `sdp`"),
        (Phase.END, "nonsense", "the message is not JSON"),
        (Phase.END, "{}", "Object missing required field `type`"),
    ],
)
def test_unexpected_or_malformed_messages_close_with_a_reason(phase: Phase, frame: str, reason: str) -> None:
    assert at(phase).receive(frame, 1) == [Close(4490, reason)]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("DISCONNECTED-API", 1000),
        ("CLOSED-BY-PEER", 1000),
        ("SHUTDOWN", 1001),
        ("INTERNAL-ERROR", 1011),
        ("MEDIA-TIMEOUT", 4490),
        ("DTLS-HANDSHAKE-FAILED", 4490),
    ],
)
@pytest.mark.parametrize("phase", [Phase.ANSWER, Phase.MEDIA, Phase.END])
def test_the_end_of_the_connection_closes_the_websocket(phase: Phase, reason: str, code: int) -> None:
    assert at(phase).ended(reason) == [Close(code, reason)]


def test_a_refusal_closes_with_its_reason_cut_to_a_close_frame() -> None:
    [close] = at(Phase.ANSWER).refused("録" * 100)
    assert close == Close(4490, "録" * 41)


def test_dtls_before_the_answer_or_twice_joins_nothing() -> None:
    """A client must never join a channel twice."""
    assert at(Phase.ANSWER).connected(0) == []
    assert at(Phase.END).connected(0) == []
    assert at(Phase.CONNECT).opened("the offer", 0) == []


STEPS = st.lists(
    st.one_of(
        st.sampled_from([*frames("js_sdk"), *frames("python_sdk_sendrecv"), connect(audio=False, video=False)]),
        st.sampled_from(["opened", "refused", "connected", "ended", "tick"]),
        st.binary(max_size=20),
    ),
    max_size=12,
)


@given(STEPS)
def test_in_any_order_there_is_one_close_one_join_and_nothing_after_the_close(steps: list[str | bytes]) -> None:
    talk = Conversation(0)
    done: list[Action] = []
    for number, step in enumerate(steps):
        now_ns = number * 3 * PING_INTERVAL_NS
        match step:
            case "opened":
                actions = talk.opened("the offer", now_ns)
            case "refused":
                actions = talk.refused("no")
            case "connected":
                actions = talk.connected(now_ns)
            case "ended":
                actions = talk.ended("MEDIA-TIMEOUT")
            case "tick":
                actions = talk.tick(now_ns)
            case _:
                actions = talk.receive(step, now_ns)
        done += actions
    closes = [number for number, action in enumerate(done) if isinstance(action, Close)]
    assert closes in ([], [len(done) - 1])
    assert sum(isinstance(action, Join) for action in done) <= 1
    assert sum(isinstance(action, Open) for action in done) <= 1
    assert sum(isinstance(action, Accept) for action in done) <= 1
