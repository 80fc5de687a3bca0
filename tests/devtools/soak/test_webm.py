"""The soak's WebM reader agrees with PyAV, and refuses what is not a finished file."""

from pathlib import Path

import pytest

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.soak.webm import WebmError, read_webm
from rokuga.recorder.archive.archive_file import ArchiveFile
from rokuga.recorder.archive.container_table import WEBM
from rokuga.recorder.archive.names import archive_names
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.media import AccessUnit
from rokuga.recorder.negotiation import TrackConfig
from tests import readers

CLIP = Path(__file__).parent.parent.parent.parent / "media-samples" / "vp9-opus.webm"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record the clip without a network."""
    folder = tmp_path_factory.mktemp("archive")
    recording_id = new_id()
    (folder / recording_id).mkdir()
    names = archive_names(str(folder), recording_id, new_id(), "webm")
    file = ArchiveFile(WEBM, names, TrackConfig("OPUS"), TrackConfig("VP9"), 0o640, 0)
    file.open()
    clip = read_clip(CLIP)
    units = [(kind, unit) for kind, track in clip.tracks.items() for unit in track.units]
    units.sort(key=lambda each: each[1].time_ns)
    file.write(
        [(kind, AccessUnit(0, unit.data, unit.is_keyframe, 0, 640, 360), unit.time_ns) for kind, unit in units]
    )
    file.finish()
    return Path(names.path)


def test_it_agrees_with_pyav(recorded: Path) -> None:
    """Payloads, times and key flags of both kinds; a cue of every key frame; the duration."""
    file = read_webm(recorded.read_bytes())
    wanted = readers.packets(recorded)
    for kind in file.blocks:
        assert [(block.data, block.time_ms, block.is_keyframe) for block in file.blocks[kind]] == wanted[kind]
    assert {time for kind, time, _ in file.cues if kind == "video"} <= {t for _, t, key in wanted["video"] if key}
    assert all(is_true for _, _, is_true in file.cues)
    assert file.duration_ms == pytest.approx(readers.duration_s(recorded) * 1000)


@pytest.mark.parametrize("cut", [0, 1, 100, 5_000])
def test_a_truncated_file_is_refused(recorded: Path, cut: int) -> None:
    data = recorded.read_bytes()
    with pytest.raises(WebmError):
        read_webm(data[:-1] if cut == 0 else data[:cut])


def test_a_file_in_progress_is_refused() -> None:
    """Its Segment has an unknown size."""
    with pytest.raises(WebmError, match="unknown"):
        read_webm(bytes.fromhex("1a45dfa380 18538067 01ffffffffffffff"))
