"""The Dockerfile, built as it stands, and the services of compose.yaml in what it makes."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.engine import ROOT, Container, Image, build, locked

pytestmark = pytest.mark.end_to_end

LOCK_BOTH = """
import os, pathlib, rokuga.recorder.directory_lock as directories
for name in ("ROKUGA_ARCHIVE_DIR", "ROKUGA_DATA_DIR"):
    directories.DirectoryLock(pathlib.Path(os.environ[name])).check()
"""


@pytest.fixture
def container(image: Image) -> Iterator[Container]:
    with image.container() as container:
        yield container


@pytest.mark.timeout(600)
def test_the_image_has_its_wheels_and_neither_compiler_nor_installer(container: Container) -> None:
    (found,) = container.root.glob("opt/rokuga/lib/python3*/site-packages")
    names = {path.name.partition("-")[0] for path in found.glob("*-info")}
    assert {"rokuga", "aiortc", "av", "uvloop"} <= names
    assert "pip" not in names
    assert container.run("sh", "-c", "command -v cc gcc c++ clang").returncode
    assert container.run("rokuga", "--version").stdout.strip().endswith("(compiled)")


@pytest.mark.timeout(600)
def test_any_user_of_group_0_may_use_the_directories(container: Container) -> None:
    result = container.run("python", "-c", LOCK_BOTH, user="1234567:0")
    assert result.returncode == 0, result.stderr
    assert container.run("python", "-c", LOCK_BOTH, user="1234567:1234567").returncode


@pytest.mark.timeout(600)
async def test_the_image_records_a_clip_from_outside_and_tells_the_sink(image: Image) -> None:
    """Healthy once it is ready; SIGTERM ends it with 0."""
    command = ["unshare", "--net", sys.executable, "-m", "tests.container.services", image.name]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, log = await process.communicate()
    assert process.returncode == 0, log.decode()[-4000:]
    facts = json.loads(out)
    assert facts["daemon"] == [10001, 10001, 10001]
    assert facts["unhealthy"] == 1
    assert (facts["by_name"], facts["page"]) == (200, 200)
    assert (facts["own_page"], facts["foreign_page"]) == (200, 403)
    assert facts["publish"] == 0
    assert facts["files"] == ["archive.json", "archive.webm", "report.json"]
    assert facts["owners"] == [10001]
    assert facts["webm_bytes"] > 150_000
    assert (facts["exit"], facts["sink"]) == (0, 0)


def test_nothing_goes_into_the_build_but_what_the_wheel_is_made_of(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    with locked():
        context = build("localhost/rokuga-context", dockerfile)
    with context.container() as container:
        found = {str(path.relative_to(container.root)) for path in container.root.rglob("*")}
    for path in (".git", ".venv", "tests", "archive", "docs", "build"):
        assert path not in found, path
    assert not any("__pycache__" in path for path in found)
    for path in ("api/daemon.py", "pyproject.toml", "rokuga/api", "webhooks/json_schemas/file-archive.json"):
        assert path in found, path
