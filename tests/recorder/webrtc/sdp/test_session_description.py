"""Parsing of session descriptions of real clients, and limits."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.webrtc.sdp.offer_and_answer import SdpError
from rokuga.recorder.webrtc.sdp.session_description import (
    MAX_CANDIDATES,
    MAX_CREDENTIAL_CHARACTERS,
    MAX_EXTENSIONS,
    MAX_FEEDBACK,
    MAX_FINGERPRINTS,
    MAX_LINE_CHARACTERS,
    MAX_LINES,
    MAX_PARAMETERS,
    MAX_PAYLOAD_TYPES,
    MAX_SDP_CHARACTERS,
    MAX_SECTIONS,
    MAX_SOURCES,
    SdpLimitError,
    parse_description,
)
from rokuga.recorder.webrtc.sdp.whip_offer import read_offer
from tests.steps import steps

TESTS = Path(__file__).parents[3]
HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"


def descriptions(value: Any) -> Iterator[str]:
    """Yield every description in a captured message."""
    if isinstance(value, str) and value.startswith("v=0"):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from descriptions(inner)


def captured() -> list[str]:
    books = sorted((TESTS / "vectors").rglob("*.jsonl"))
    texts = [path.read_text() for path in sorted((TESTS / "recorder" / "webrtc" / "vectors").glob("*.sdp"))]
    for line in (line for book in books for line in book.read_text().splitlines()):
        try:
            texts += descriptions(json.loads(line))
        except ValueError:  # statistics of libwebrtc are not always JSON
            continue
    return texts


@pytest.mark.parametrize("text", captured())
def test_real_descriptions_are_parsed_as_aiortc_parses_them(text: str) -> None:
    ours, theirs = parse_description(text, "offer"), SessionDescription.parse(text)
    assert ours.bundled == {str(mid) for group in theirs.group for mid in group.items}
    for section, other in zip(ours.sections, theirs.media, strict=True):
        assert (section.kind, section.port, section.protocol) == (other.kind, other.port, other.profile)
        assert (section.mid, section.direction) == (other.rtp.muxId, other.direction or "sendrecv")
        assert other.ice is not None
        assert section.transport.ice_ufrag == (other.ice.usernameFragment or "")
        assert section.transport.ice_password == (other.ice.password or "")
        prints = [(each.algorithm, each.value) for each in (other.dtls.fingerprints if other.dtls else ())]
        assert section.transport.fingerprints == prints
        if section.kind in {"audio", "video"}:
            assert list(section.formats) == other.fmt
        assert len(section.candidates) == len(other.ice_candidates)
        assert section.extensions == [(each.id, each.uri) for each in other.rtp.headerExtensions]
        assert list(section.sources) == [source.ssrc for source in other.ssrc]
        assert section.repairs == {g.items[1]: g.items[0] for g in other.ssrc_group if g.semantic == "FID"}
        assert list(section.codecs) == [codec.payloadType for codec in other.rtp.codecs]
        for codec in other.rtp.codecs:
            assert codec.payloadType is not None
            found = section.codecs[codec.payloadType]
            assert (found.encoding, found.clock_rate_hz) == (codec.name, codec.clockRate)
            parameters = {name: str(value) for name, value in codec.parameters.items() if value is not None}
            assert section.parameters_of(codec.payloadType) == parameters
            words = [f"{word.type} {word.parameter or ''}".strip() for word in codec.rtcpFeedback]
            assert section.feedback_of(codec.payloadType) == words


def numbered(line: str) -> Callable[[int], str]:
    """Return a function that makes a section with some numbered copies of a line."""
    return lambda count: VIDEO + "".join(line.format(n=n) + "\r\n" for n in range(count))


LIMITS: dict[str, tuple[int, Callable[[int], str]]] = {
    "lines": (MAX_LINES - HEAD.count("\n"), lambda count: "\r\n" * count),
    "characters in a line": (MAX_LINE_CHARACTERS, lambda count: "x" * count),
    "m-lines": (MAX_SECTIONS, lambda count: VIDEO * count),
    "mids in BUNDLE groups": (2 * MAX_SECTIONS, lambda n: "".join(f"a=group:BUNDLE {i}\r\n" for i in range(n))),
    "payload types in an m-line": (MAX_PAYLOAD_TYPES, lambda count: VIDEO.strip() + " 96" * (count - 1)),
    "rtpmap lines": (MAX_PAYLOAD_TYPES, numbered("a=rtpmap:{n} VP8/90000")),
    "fmtp lines": (MAX_PAYLOAD_TYPES, numbered("a=fmtp:{n} a=b")),
    "parameters in an fmtp line": (MAX_PARAMETERS, lambda count: VIDEO + "a=fmtp:96 a=b" + ";a=b" * (count - 1)),
    "rtcp-fb lines of a payload type": (MAX_FEEDBACK, numbered("a=rtcp-fb:* nack x{n}")),
    "payload types with rtcp-fb": (MAX_PAYLOAD_TYPES + 1, numbered("a=rtcp-fb:{n} nack")),
    "SSRCs": (MAX_SOURCES, numbered("a=ssrc:{n} cname:x")),
    "FID groups": (MAX_SOURCES, numbered("a=ssrc-group:FID {n} 1{n}")),
    "header extensions": (MAX_EXTENSIONS, numbered("a=extmap:{n} urn:x")),
    "fingerprints": (MAX_FINGERPRINTS, numbered("a=fingerprint:sha-256 {n}")),
    "candidates": (MAX_CANDIDATES, numbered("a=candidate:{n} 1 udp 1 192.0.2.1 9 typ host")),
    "characters in ice-ufrag": (MAX_CREDENTIAL_CHARACTERS, lambda count: "a=ice-ufrag:" + "x" * count),
    "characters in ice-pwd": (MAX_CREDENTIAL_CHARACTERS, lambda count: "a=ice-pwd:" + "x" * count),
}


@pytest.mark.parametrize("name", LIMITS)
def test_an_exceeded_limit_is_named(name: str) -> None:
    most, make = LIMITS[name]
    parse_description(HEAD + make(most), "offer")
    with pytest.raises(SdpLimitError, match=rf"the offer has more than \d+ {name}"):
        parse_description(HEAD + make(most + 1), "offer")


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(SdpLimitError, match="the answer is too long"):
        parse_description("\n" * (MAX_SDP_CHARACTERS + 1), "answer")


def test_a_section_overrides_attributes_of_the_session() -> None:
    common = "a=ice-ufrag:u\r\na=ice-pwd:p\r\na=setup:passive\r\na=fingerprint:SHA-256 AB\r\n"
    common += "a=sendonly\r\na=rtcp-mux\r\n"
    own = "a=ice-ufrag:own\r\na=setup:active\r\na=fingerprint:sha-1 CD\r\na=recvonly\r\n"
    first, second = parse_description(HEAD + common + VIDEO + own + VIDEO, "offer").sections
    assert (first.transport.ice_ufrag, first.transport.setup, first.direction) == ("own", "active", "recvonly")
    assert first.transport.fingerprints == [("sha-256", "AB"), ("sha-1", "CD")]
    assert (second.transport.ice_ufrag, second.transport.setup, second.direction) == ("u", "passive", "sendonly")
    assert second.transport.fingerprints == [("sha-256", "AB")]
    assert "rtcp-mux" in second.flags


def test_an_fmtp_line_may_precede_its_rtpmap_and_have_spaces() -> None:
    lines = "a=fmtp:97 apt=96\r\na=fmtp:96 profile-level-id=42e01f; packetization-mode=1 ;flag\r\n"
    maps = "a=rtpmap:96 H264/90000\r\na=rtpmap:97 RTX/90000\r\n"
    [section] = parse_description(HEAD + VIDEO + lines + maps, "offer").sections
    assert section.parameters_of(96) == {"profile-level-id": "42e01f", "packetization-mode": "1"}
    assert section.retransmissions() == {96: 97}


@pytest.mark.parametrize(
    "line",
    [
        "m=video x UDP/TLS/RTP/SAVPF 96",
        "m=video 9 UDP/TLS/RTP/SAVPF ٩",
        "m=video 9 UDP/TLS/RTP/SAVPF 72",
        "m=video 9 UDP/TLS/RTP/SAVPF 256",
        "m=video 9",
        "a=rtpmap:96",
        "a=rtpmap:96 VP8/x",
        "a=rtpmap:9_6 VP8/90000",
        "a=fmtp:x a=b",
        "a=rtcp-fb:x nack",
        "a=ssrc:99999999999 cname:x",
        "a=ssrc-group:FID 1 x",
        "a=setup:holdconn",
        "a=fingerprint:sha-256",
    ],
)
def test_an_invalid_line_is_named(line: str) -> None:
    with pytest.raises(SdpError, match="the offer cannot be read: ") as raised:
        parse_description(f"{HEAD}{VIDEO}{line}\r\n", "offer")
    assert not isinstance(raised.value, SdpLimitError)


@given(st.text() | st.lists(st.sampled_from(captured()[0].splitlines()) | st.text()).map("\r\n".join))
def test_any_text_is_a_description_or_an_sdp_error(text: str) -> None:
    try:
        description = parse_description(text, "offer")
    except SdpError:
        return
    assert len(description.sections) <= MAX_SECTIONS


def crowded(sections: int, codecs: int) -> str:
    """Return an offer with so many sections and codecs, whose error is at its end."""
    maps = "".join(
        f"a=rtpmap:{n} VP8/90000\r\na=fmtp:{n} apt={n}\r\na=rtcp-fb:{n} nack\r\na=ssrc:{n} cname:x\r\n"
        for n in range(codecs)
    )
    numbers = " ".join(str(n) for n in range(codecs) if not 72 <= n < 77)
    media = f"m=video 9 UDP/TLS/RTP/SAVPF {numbers}\r\na=rtcp-mux\r\na=rtcp-fb:* nack pli\r\n{maps}"
    return HEAD + media * sections


@pytest.mark.parametrize(("small", "large"), [((2, 50), (4, 50)), ((4, 30), (4, 60)), ((8, 50), (16, 50))])
def test_parsing_takes_linear_time(small: tuple[int, int], large: tuple[int, int]) -> None:
    def read(text: str) -> None:
        with pytest.raises(SdpError, match="more than one m=video"):
            read_offer(text)

    counts = [steps(partial(read, crowded(*size))) for size in (small, large)]
    assert counts[1] < 2.1 * counts[0], counts
