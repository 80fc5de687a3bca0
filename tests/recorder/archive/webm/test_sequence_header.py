"""A video track begins with a key frame whose CodecPrivate fits into the header."""

from pathlib import Path

import pytest

from rokuga.recorder.archive.archive_file import ArchiveFile
from rokuga.recorder.archive.container_table import WEBM
from rokuga.recorder.archive.names import archive_names
from rokuga.recorder.archive.webm.muxer import MAX_CODEC_PRIVATE_BYTES
from rokuga.recorder.media import NS_PER_MS, AccessUnit
from rokuga.recorder.negotiation import TrackConfig
from tests import readers
from tests.recorder.codecs.clips import encoded
from tests.support.recorder import OPUS_20_MS

ID = "0" * 26
TEMPORAL_DELIMITER = b"\x12\x00"


def padded(keyframe: bytes, padding_bytes: int) -> bytes:
    """Return the key frame with zeros appended to its sequence header OBU."""
    size = keyframe[1]
    assert keyframe[0] == 0x0A  # a sequence header with its size (AV1 specification, section 5.3)
    padded_size = size + padding_bytes
    leb128 = bytes((padded_size & 0x7F | 0x80, padded_size >> 7))
    return keyframe[:1] + leb128 + keyframe[2 : 2 + size] + bytes(padding_bytes) + keyframe[2 + size :]


@pytest.mark.parametrize("audio_first", [True, False])
@pytest.mark.parametrize("padding_bytes", [MAX_CODEC_PRIVATE_BYTES - 40, MAX_CODEC_PRIVATE_BYTES, 10_000])
def test_a_sequence_header_that_is_too_large_costs_no_audio(
    tmp_path: Path, padding_bytes: int, *, audio_first: bool
) -> None:
    """Video before the first key frame with a smaller one is left out."""
    names = archive_names(str(tmp_path), ID, ID, "webm")
    (tmp_path / ID).mkdir()
    good = encoded("AV1")[0].removeprefix(TEMPORAL_DELIMITER)
    too_large = padded(good, padding_bytes)
    file = ArchiveFile(WEBM, names, TrackConfig("OPUS"), TrackConfig("AV1"), 0o640, 0)
    file.open()
    audio = [AccessUnit(0, OPUS_20_MS, True, 0) for _ in range(100)]
    pictures = [AccessUnit(0, data, True, 0, 320, 180) for data in (too_large, good)]
    if audio_first:
        file.write([("audio", audio[0], 0)])
    file.write([("video", picture, 20 * (place + 1) * NS_PER_MS) for place, picture in enumerate(pictures)])
    begin = 1 if audio_first else 0
    file.write([("audio", unit, (place + 100) * 20 * NS_PER_MS) for place, unit in enumerate(audio[begin:])])
    finished = file.finish()
    assert finished is not None
    found = readers.packets(Path(names.path))
    assert len(found["audio"]) == finished.stored["audio"] == 100
    fits = padding_bytes < MAX_CODEC_PRIVATE_BYTES - 20
    assert [data for data, _, _ in found["video"]] == [unit.data for unit in (pictures if fits else pictures[1:])]
