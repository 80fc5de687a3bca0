"""The pytest plugin: tests of a consumer pass with it, and fail if the consumer is wrong."""

import asyncio
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "tests" / "example_consumer"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Return an environment with the entry points of `pyproject.toml`, whatever version of them is installed."""
    folder = tmp_path / "installed"
    metadata = folder / "rokuga-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rokuga\nVersion: 0\n")
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    lines = [f"{name} = {module}" for name, module in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    return os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", str(ROOT))))}


async def run_tests(folder: Path, environment: dict[str, str], *options: str) -> tuple[int | None, str]:
    """Run the tests in a folder with their own configuration; return exit code and output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    process = await asyncio.create_subprocess_exec(
        *command, *options, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    return process.returncode, output


@pytest.mark.end_to_end
async def test_the_example_project_passes(installed: dict[str, str]) -> None:
    """A recording by a real daemon, and simulated scenarios, in a project that knows nothing of WebRTC."""
    code, output = await run_tests(EXAMPLE, installed)
    assert code == 0, output
    assert "4 passed" in output


@pytest.mark.end_to_end
async def test_a_consumer_that_ignores_repeated_ids_fails(tmp_path: Path, installed: dict[str, str]) -> None:
    """The example without its set of ids fails when events are delivered twice."""
    shutil.copytree(EXAMPLE, tmp_path / "consumer")
    file = tmp_path / "consumer" / "consumer.py"
    file.write_text(file.read_text().replace('if event["id"] in self._seen', "if False"))
    code, output = await run_tests(tmp_path / "consumer", installed, "-k", "duplicate")
    assert code == 1, output
    assert "1 failed" in output


@pytest.mark.system
@pytest.mark.parametrize("named", [None, "rokuga.devtools.pytest_plugin", "rokuga.api.testing"])
async def test_the_fixture_is_found_however_often_the_plugin_is_named(
    tmp_path: Path, installed: dict[str, str], named: str | None
) -> None:
    """By the entry point alone, and by a `conftest.py` of version 0.1.0 as well."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    if named:
        (tmp_path / "conftest.py").write_text(f"pytest_plugins = [{named!r}]\n")
    (tmp_path / "test_project.py").write_text(
        "def test_nothing(rokuga_webhook_url): assert rokuga_webhook_url is None\n"
    )
    code, output = await run_tests(tmp_path, installed)
    assert code == 0, output
    assert "1 passed" in output
    is_former = named == "rokuga.api.testing"
    assert ("DeprecationWarning: rokuga.api.testing is now rokuga.devtools.pytest_plugin" in output) is is_former


@pytest.mark.system
async def test_a_project_may_override_the_webhook_url(tmp_path: Path, installed: dict[str, str]) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    override = "import pytest\n\n@pytest.fixture\ndef rokuga_webhook_url(): return 'http://127.0.0.1:9/'\n"
    for place, named in enumerate(("", "pytest_plugins = ['rokuga.devtools.pytest_plugin']\n")):
        (tmp_path / "conftest.py").write_text(override + named)
        (tmp_path / f"test_{place}.py").write_text("def test_it(rokuga_webhook_url): assert rokuga_webhook_url\n")
        code, output = await run_tests(tmp_path, installed, f"test_{place}.py")
        assert code == 0, output


@pytest.mark.system
def test_the_plugin_imports_nothing_heavy_when_pytest_starts() -> None:
    """Every pytest run of an environment with Rokuga imports it, also where only the daemon is wanted."""
    code = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import rokuga.devtools.pytest_entry_point, rokuga.devtools.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {name for name in shown.split() if not name.startswith("_")} == {
        "rokuga",
        "rokuga.devtools",
        "rokuga.devtools.pytest_entry_point",
        "rokuga.devtools.pytest_plugin",
    }


@pytest.mark.system
def test_the_class_of_the_fixture_can_be_imported_for_annotations() -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from rokuga.devtools.pytest_plugin import RokugaRecorder as new\n"
        "from rokuga.api.testing import RokugaRecorder as former, rokuga_recorder, rokuga_webhook_url\n"
        "assert new is former"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


PROJECT = """
import pytest

@pytest.mark.parametrize("number", range(COUNT))
def test_a_recording_is_reported(rokuga_recorder, number):
    (FOLDER / str(rokuga_recorder._process.pid)).touch()
    rokuga_recorder.start_recording("lesson")
    rokuga_recorder.publish("lesson", seconds=0.5)
    rokuga_recorder.stop_recording("lesson")
    rokuga_recorder.wait_for_event("recording.report", channel_id="lesson")
    LAST
"""


def project(folder: Path, count: int, last: str = "") -> Path:
    """Write a project whose tests record for half a second; return the folder where they store process ids."""
    pids = folder / "pids"
    pids.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text('pytest_plugins = ["rokuga.devtools.pytest_plugin"]\n')
    text = PROJECT.replace("LAST", last).replace("COUNT", str(count)).replace("FOLDER", f"Path({str(pids)!r})")
    (folder / "test_project.py").write_text(f"import os, signal\nfrom pathlib import Path\n{text}")
    return pids


def stored(pids: Path) -> list[str]:
    """Return the process ids that a project has stored."""
    return [each.name for each in pids.iterdir()]


def is_ours(pid: str) -> bool:
    """Return whether a process of Rokuga has this id."""
    try:
        return b"rokuga" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def ended(pids: list[str]) -> None:
    """Wait until all of them have ended."""
    while any(map(is_ours, pids)):  # noqa: ASYNC110  # they are not our children: there is nothing to wait on
        await asyncio.sleep(0.02)


@pytest.mark.end_to_end
async def test_daemons_of_parallel_workers_have_their_own_ports(tmp_path: Path, installed: dict[str, str]) -> None:
    """As reported of another plugin: https://github.com/dbfixtures/pytest-mysql/issues/633."""
    pids = project(tmp_path, 4)
    code, output = await run_tests(tmp_path, installed, "-n", "4")
    assert (code, "4 passed" in output) == (0, True), output
    found = stored(pids)
    assert len(found) == 4
    await ended(found)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "last",
    [
        pytest.param("assert False", id="the test fails"),
        pytest.param("os.kill(os.getpid(), signal.SIGINT)", id="Ctrl-C"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="killed"),
        pytest.param(
            "rokuga_recorder.publish_in_background();"
            " (FOLDER / str(rokuga_recorder._publishers[0].pid)).touch(); os._exit(1)",
            id="exit with an active publisher",
        ),
    ],
)
async def test_no_daemon_outlives_the_test_process(tmp_path: Path, installed: dict[str, str], last: str) -> None:
    pids = project(tmp_path, 1, last)
    code, output = await run_tests(tmp_path, installed)
    assert code != 0, output
    found = stored(pids)
    assert len(found) == 1 + ("publish_in_background" in last)
    await ended(found)
