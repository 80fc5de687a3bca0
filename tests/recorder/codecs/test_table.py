"""The codec table: what SDP and signalling read."""

from typing import Any

import pytest

from rokuga.recorder.codecs.parameters import ParametersError
from rokuga.recorder.codecs.table import CODECS


def test_rows_are_soras_codecs_by_their_own_name() -> None:
    assert list(CODECS) == ["OPUS", "VP8", "VP9", "AV1", "H264"]
    assert all(codec.name == name for name, codec in CODECS.items())


def test_payload_types_are_dynamic_and_each_is_used_once() -> None:
    used = [codec.payload_type for codec in CODECS.values()]
    used += [codec.rtx_payload_type for codec in CODECS.values() if codec.kind == "video"]
    assert len(set(used)) == len(used)
    assert all(96 <= payload_type <= 127 for payload_type in used)


def test_every_call_makes_a_new_depacketizer_with_or_without_the_peers_fmtp() -> None:
    for codec in CODECS.values():
        first, second = codec.depacketizer({}), codec.depacketizer({})
        assert first is not second
        assert first.dropped_units == 0


@pytest.mark.parametrize(
    ("name", "params", "fmtp"),
    [
        ("OPUS", {}, {"minptime": "10", "useinbandfec": "1"}),
        (
            "OPUS",
            {"channels": 2, "stereo": True, "sprop_stereo": True, "usedtx": True, "useinbandfec": False, "ptime": 60},
            {
                "minptime": "10",
                "useinbandfec": "0",
                "ptime": "60",
                "stereo": "1",
                "sprop-stereo": "1",
                "usedtx": "1",
            },
        ),
        ("OPUS", {"minptime": 20, "maxplaybackrate": 16000, "stereo": None}, None),
        ("VP8", {}, {}),
        ("VP9", {}, {"profile-id": "0"}),
        ("VP9", {"profile_id": 2}, {"profile-id": "2"}),
        ("AV1", {"profile": 1}, {"profile": "1"}),
        (
            "H264",
            {},
            {"level-asymmetry-allowed": "1", "packetization-mode": "1", "profile-level-id": "42e01f"},
        ),
        (
            "H264",
            {"profile_level_id": "42E01F"},
            {"level-asymmetry-allowed": "1", "packetization-mode": "1", "profile-level-id": "42e01f"},
        ),
    ],
)
def test_the_offers_fmtp_is_made_of_the_clients_params(
    name: str, params: dict[str, Any], fmtp: dict[str, str] | None
) -> None:
    expected = fmtp or {"minptime": "20", "useinbandfec": "1", "maxplaybackrate": "16000"}
    assert CODECS[name].format_parameters(params) == (expected if fmtp is None else fmtp)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("OPUS", {"channels": 3}),
        ("OPUS", {"stereo": 1}),
        ("OPUS", {"ptime": "20"}),
        ("OPUS", {"minptime": True}),
        ("OPUS", {"maxplaybackrate": 96_000}),
        ("VP9", {"profile_id": 4}),
        ("VP9", {"profile_id": "0\r\na=evil"}),
        ("AV1", {"profile": -1}),
        ("H264", {"profile_level_id": "42e01"}),
        ("H264", {"profile_level_id": "42e01f\r\n"}),
        ("H264", {"profile_level_id": 42}),
    ],
)
def test_params_that_no_description_can_express_are_an_error(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ParametersError):
        CODECS[name].format_parameters(params)


@pytest.mark.parametrize(
    ("name", "fmtp", "accepted"),
    [
        ("OPUS", {"sprop-stereo": "1"}, True),
        ("VP8", {}, True),
        ("VP9", {}, True),
        ("VP9", {"profile-id": "2"}, True),
        ("VP9", {"profile-id": "9"}, False),
        ("AV1", {"level-idx": "5", "profile": "0", "tier": "0"}, True),
        ("AV1", {"profile": "7"}, False),
        ("H264", {"packetization-mode": "1"}, True),
        ("H264", {}, True),
        ("H264", {"packetization-mode": "2"}, False),
    ],
)
def test_what_a_peer_offers_is_accepted_if_it_can_be_recorded(
    name: str, fmtp: dict[str, str], accepted: bool
) -> None:
    assert CODECS[name].accepts(fmtp) is accepted
