"""What a Matroska track entry says of each codec."""

import dataclasses

import pytest

from rokuga.recorder.archive.webm.codecs import MATROSKA_CODECS
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.table import CODECS, Codec
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.feed import fed


def test_each_codec_of_the_codec_table_can_be_stored() -> None:
    assert list(MATROSKA_CODECS) == list(CODECS)


def test_the_codec_table_has_no_field_of_a_container() -> None:
    assert not {field.name for field in dataclasses.fields(Codec)} & {"matroska_codec_id", "codec_private"}


def test_codec_private_is_there_for_opus_and_av1_only() -> None:
    assert MATROSKA_CODECS["OPUS"].codec_private(b"", 2)[:10] == b"OpusHead\x01\x02"
    for name in ("VP8", "VP9", "H264"):
        assert MATROSKA_CODECS[name].codec_private(b"anything", 0) == b""
    unit = fed(CODECS["AV1"].depacketizer({}), packetize.packets([packetize.av1(clips.encoded("AV1")[0])])[0])[0]
    assert MATROSKA_CODECS["AV1"].codec_private(unit.data, 0)[:1] == b"\x81"
    with pytest.raises(PayloadError):
        MATROSKA_CODECS["AV1"].codec_private(b"", 0)
