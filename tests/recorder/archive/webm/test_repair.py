"""Repair of a file that was cut off: its tracks."""

from pathlib import Path

import pytest

from rokuga.recorder.archive.archive_file import ArchiveFile, Batch
from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.container_table import WEBM
from rokuga.recorder.archive.names import archive_names
from rokuga.recorder.archive.webm.repair import repair
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig
from tests import readers
from tests.recorder.codecs.clips import encoded
from tests.support.recorder import OPUS_20_MS

ID = "0" * 26
AUDIO: Batch = [("audio", AccessUnit(0, OPUS_20_MS, True, 0), place * 20 * NS_PER_MS) for place in range(100)]
VIDEO: Batch = [
    ("video", AccessUnit(0, data, not place, 0, 320, 180), place * 33 * NS_PER_MS)
    for place, data in enumerate(encoded("VP8"))
]


def late(batch: Batch) -> Batch:
    """Return the first unit of a batch three seconds later."""
    return [(kind, unit, 3000 * NS_PER_MS) for kind, unit, _ in batch[:1]]


@pytest.mark.system
@pytest.mark.parametrize(("batch", "lost", "kind"), [(AUDIO, VIDEO, "audio"), (VIDEO, AUDIO, "video")])
def test_a_track_of_which_a_crash_left_no_block_is_not_in_the_header(
    tmp_path: Path, batch: Batch, lost: Batch, kind: Kind
) -> None:
    """The header on the disk describes it before its first block is written; players would wait for it."""
    names = archive_names(str(tmp_path), ID, ID, "webm")
    (tmp_path / ID).mkdir()
    file = ArchiveFile(WEBM, names, TrackConfig("OPUS"), TrackConfig("VP8"), 0o640, 0)
    file.open()
    file.write(batch)
    size = Path(names.in_progress_path).stat().st_size
    file.write(late(lost))
    left = tmp_path / "left.webm"
    left.write_bytes(Path(names.in_progress_path).read_bytes()[:size])
    repaired = repair(str(left))
    assert isinstance(repaired, FinishedFile)
    assert repaired.kinds == {kind}
    assert (repaired.width > 0) == (kind == "video")
    counts = readers.decode_strictly(left)
    assert counts.keys() == {kind}
    assert 0 < counts[kind] <= len(batch)
    assert file.finish() is not None
