"""What each container of the table does, whatever its format: one suite for all of them."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from rokuga.recorder.archive.archive_file import ArchiveFile, Batch
from rokuga.recorder.archive.container import Container, FinishedFile, Unplayable
from rokuga.recorder.archive.container_table import CONTAINERS, SUFFIX_PATTERN, SUFFIXES, container_of_file
from rokuga.recorder.archive.names import IN_PROGRESS, FileNames, archive_names
from rokuga.recorder.media import NS_PER_MS, AccessUnit
from rokuga.recorder.negotiation import TrackConfig
from tests import readers
from tests.recorder.codecs.clips import encoded
from tests.support.recorder import OPUS_20_MS

ROOT = Path(__file__).parents[3]
ID = "0" * 26
START_WALL_NS = 1_700_000_000_123_000_000
PICTURE_MS = 33
PICTURES = encoded("VP8")
COUNTS = {"audio": 50, "video": len(PICTURES)}
UNITS: Batch = sorted(
    [("audio", AccessUnit(0, OPUS_20_MS, True, 0), number * 20 * NS_PER_MS) for number in range(50)]
    + [
        (
            "video",
            AccessUnit(0, data, not number, 0, *((0, 0) if number else (320, 180))),
            number * PICTURE_MS * NS_PER_MS,
        )
        for number, data in enumerate(PICTURES)
    ],
    key=lambda item: item[2],
)


@pytest.fixture(params=CONTAINERS.values(), ids=list(CONTAINERS))
def container(request: pytest.FixtureRequest) -> Container:
    """Each container of the table."""
    row: Container = request.param
    return row


@pytest.fixture
def names(tmp_path: Path, container: Container) -> FileNames:
    """The names of a file in its recording's folder."""
    (tmp_path / ID).mkdir()
    return archive_names(str(tmp_path), ID, ID, container.suffix)


def written(container: Container, names: FileNames, units: Batch) -> ArchiveFile:
    """Write a file in batches of five units."""
    file = ArchiveFile(container, names, TrackConfig("OPUS"), TrackConfig("VP8"), 0o640, START_WALL_NS)
    file.open()
    for begin in range(0, len(units), 5):
        file.write(units[begin : begin + 5])
    return file


def test_rows_have_names_suffixes_and_media_types_of_their_own() -> None:
    assert all(name == container.name for name, container in CONTAINERS.items())
    assert len(SUFFIXES) == len({container.media_type for container in CONTAINERS.values()}) == len(CONTAINERS)
    assert "json" not in SUFFIXES  # it is the documents'


def test_a_file_is_known_by_its_suffix(container: Container) -> None:
    assert container_of_file(f"archive-{ID}_0001.{container.suffix}") is container
    assert container_of_file(f"archive-{ID}.json") is None
    assert re.fullmatch(SUFFIX_PATTERN, container.suffix)
    assert set(container.suffix) <= set(string.ascii_lowercase + string.digits)
    assert IN_PROGRESS.fullmatch(f".split-archive-{ID}_0001.{container.suffix}.part")


@pytest.mark.system
def test_a_finished_file_contains_what_was_written(container: Container, names: FileNames) -> None:
    finished = written(container, names, UNITS).finish()
    assert finished is not None
    path = Path(names.path)
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o640
    assert finished.size_bytes == path.stat().st_size
    assert finished.stored == {**COUNTS, "keyframe": 1}
    assert finished.kinds == {"audio", "video"}
    assert (finished.width, finished.height) == (320, 180)
    stored = readers.packets(path)
    for kind in finished.kinds:
        assert [data for data, *_ in stored[kind]] == [unit.data for each, unit, _ in UNITS if each == kind]
    assert readers.decode_strictly(path) == COUNTS


def test_inspection_reads_what_finishing_returned_and_changes_nothing(container: Container, names: FileNames) -> None:
    finished = written(container, names, UNITS).finish()
    assert finished is not None
    before = Path(names.path).read_bytes()
    inspected = container.inspect(names.path)
    assert inspected is not None
    assert container.repair(names.path) == inspected
    assert Path(names.path).read_bytes() == before
    assert inspected.start_wall_ns == finished.start_wall_ns == START_WALL_NS
    same = ("size_bytes", "kinds", "width", "height", "duration_ms")
    assert [getattr(inspected, field) for field in same] == [getattr(finished, field) for field in same]


@pytest.mark.system
def test_a_file_in_progress_is_not_finished_until_it_is_repaired(container: Container, names: FileNames) -> None:
    """Of what was flushed, all is in the repaired file: a killed process loses nothing that was written."""
    written(container, names, UNITS)
    assert container.inspect(names.in_progress_path) is None
    repaired = container.repair(names.in_progress_path)
    assert isinstance(repaired, FinishedFile)
    assert container.inspect(names.in_progress_path) == repaired
    assert repaired.kinds == {"audio", "video"}
    assert readers.decode_strictly(Path(names.in_progress_path)) == COUNTS


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_anywhere_is_repaired_to_what_was_before(
    container: Container, names: FileNames, share: float
) -> None:
    written(container, names, UNITS)
    path = Path(names.in_progress_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    repaired = container.repair(str(path))
    assert isinstance(repaired, FinishedFile)
    assert container.inspect(str(path)) == repaired
    stored = readers.packets(path)
    for kind in repaired.kinds:
        sent = [unit.data for each, unit, _ in UNITS if each == kind]
        assert [data for data, *_ in stored[kind]] == sent[: len(stored[kind])]


def test_a_file_without_a_unit_is_removed_when_it_is_finished(container: Container, names: FileNames) -> None:
    assert written(container, names, []).finish() is None
    assert not list(Path(names.path).parent.iterdir())


def test_a_file_without_a_unit_is_empty_after_a_crash(container: Container, names: FileNames) -> None:
    written(container, names, [])
    assert container.repair(names.in_progress_path) is Unplayable.EMPTY
    assert container.inspect(names.in_progress_path) is None


def test_a_file_of_something_else_is_unreadable(container: Container, names: FileNames) -> None:
    path = Path(names.in_progress_path)
    path.write_bytes(b"something else " * 1000)
    assert container.repair(str(path)) is Unplayable.UNREADABLE
    assert container.inspect(str(path)) is None


def test_a_file_that_failed_is_repaired_and_gets_its_final_name(container: Container, names: FileNames) -> None:
    abandoned = written(container, names, UNITS).abandon()
    assert abandoned is not None
    assert container.inspect(names.path) == abandoned


def test_video_begins_with_its_first_key_frame(container: Container, names: FileNames) -> None:
    headless = [item for item in UNITS if item[0] == "audio" or not item[1].is_keyframe]
    finished = written(container, names, headless).finish()
    assert finished is not None
    assert finished.kinds == {"audio"}


SAMPLES = {path.name for path in (ROOT / "media-samples").iterdir()}
CLIPS_THAT_ARE_PUBLISHED = {
    "devtools/publisher/command.py": "FILE.webm",
    "devtools/soak/publisher_worker.py": ".webm",
}


def strings(path: Path) -> Iterator[str]:
    """Yield the string constants of a Python module but its docstrings, and the lines of anything else."""
    if path.suffix != ".py":
        yield from path.read_text().splitlines()
        return
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def place(container: Container) -> str:
    """Return how the paths of a container's modules begin: of its package, or of its one module beside the table."""
    module = type(container).__module__.removeprefix("rokuga.").split(".")
    return "/".join(module[:3]) + ("/" if len(module) > 3 else ".py")


def test_no_module_names_a_suffix_but_the_packages_of_the_containers() -> None:
    """Another container is one package and one row. The media samples have suffixes of their own."""
    suffix = re.compile(rf"\b(?:{SUFFIX_PATTERN})\b")
    own = tuple(place(container) for container in CONTAINERS.values())
    parts = ("recorder", "api", "webhooks", "devtools", "cli")
    found = []
    for path in (path for part in parts for path in (ROOT / part).rglob("*")):
        module = path.relative_to(ROOT).as_posix()
        if path.suffix not in {".py", ".js", ".html"} or module.startswith(own):
            continue
        named = [text for text in strings(path) if suffix.search(text)]
        samples = {CLIPS_THAT_ARE_PUBLISHED.get(module), *SAMPLES}
        found += [(module, text) for text in named if text.removeprefix("samples/") not in samples]
    assert found == []
