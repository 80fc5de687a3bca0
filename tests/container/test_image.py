"""The Dockerfile, every instruction as it stands, and the services of compose.yaml in what it makes."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.container.rehearsal import ROOT

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


async def rehearse(folder: Path, *options: str) -> dict[str, Any]:
    """Build the image into a folder and run it; gives what was found."""
    command = [*NAMESPACES, sys.executable, "-m", "tests.container.rehearsal", str(folder), *options]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    facts, said = await process.communicate()
    assert process.returncode == 0, said.decode()[-4000:]
    return dict(json.loads(facts))


def hold(facts: dict[str, Any]) -> None:
    """Hold what both forms have to show."""
    assert facts["any_user"] == 0, "any uid of group 0 may use the folders"
    assert facts["daemon"] == [10001, 10001, 10001]
    assert facts["ports"] == ["3000/tcp", "5000/tcp", "5004/udp", "5004/tcp"]
    assert facts["volumes"] == ["/var/lib/rokuga/archive", "/var/lib/rokuga/data"]
    assert facts["unhealthy"] == 1
    assert facts["version"].endswith("(compiled)")
    assert (facts["by_name"], facts["page"]) == (200, 200)
    assert (facts["own_page"], facts["foreign_page"]) == (200, 403)
    assert facts["publish"] == 0
    assert facts["files"] == ["archive.json", "archive.webm", "report.json"]
    assert facts["owners"] == [10001]
    assert facts["webm_bytes"] > 150_000
    assert (facts["exit"], facts["sink"]) == (0, 0)


@pytest.mark.end_to_end
@pytest.mark.timeout(300)
async def test_the_image_records_a_clip_from_outside_and_tells_the_sink(tmp_path: Path) -> None:
    """Over this machine's files and with its dependencies; healthy once ready; SIGTERM ends it with 0."""
    facts = await rehearse(tmp_path)
    hold(facts)
    assert facts["site_packages"] == ["rokuga"]


@pytest.mark.end_to_end
@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_the_image_works_in_a_fresh_debian_without_compiler(tmp_path: Path) -> None:
    """The dependencies come as wheels; neither they nor the last stage bring a compiler or an installer."""
    facts = await rehearse(tmp_path, "--fresh")
    hold(facts)
    assert not facts["has_compiler"]
    assert {"rokuga", "aiortc", "av", "uvloop"} <= set(facts["site_packages"])
    assert "pip" not in facts["site_packages"]
