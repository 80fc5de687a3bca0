"""One daemon owns its directories: a second one exits before it changes anything, and unusable ones are reported."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rokuga.api.daemon import running
from rokuga.devtools.loopback import loopback_environment
from tests.api.serving import config_in
from tests.machine import lacks, mounted

ROOT = Path(__file__).parent.parent.parent


def run(folder: Path, settings: Mapping[str, str], *command: str, user: int | None = None) -> tuple[int, list[str]]:
    """Run a command of ours; return its exit code and its lines of output."""
    environment = os.environ | loopback_environment(folder, **settings)
    words = [sys.executable, "-m", "rokuga", *(command or ("run",))]
    more = {} if user is None else {"user": user, "group": 0, "extra_groups": []}
    ended = subprocess.run(
        words, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more
    )  # type: ignore[call-overload]
    return ended.returncode, ended.stdout.decode().splitlines()


def content(folder: Path) -> Mapping[str, tuple[int, bytes]]:
    """Read every file except the database's log, which a running daemon writes every second."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.system
async def test_a_second_daemon_exits_and_changes_nothing(tmp_path: Path) -> None:
    """Either directory may be the one in use, under any name."""
    (tmp_path / "link").symlink_to(tmp_path / "archive", target_is_directory=True)
    async with running(config_in(tmp_path)):
        before = content(tmp_path)
        others: dict[str, str]
        for others in (
            {},
            {"archive_dir": str(tmp_path / "other")},
            {"data_dir": str(tmp_path / "other")},
            {"data_dir": str(tmp_path / "other"), "archive_dir": str(tmp_path / "link")},
            {"data_dir": str(tmp_path / "archive")},
        ):
            code, lines = await asyncio.to_thread(run, tmp_path, others)
            assert code == 1
            (line,) = lines
            assert f"already used by pid {os.getpid()} on " in line
        after = content(tmp_path)
        assert {path: after[path] for path in before} == before
        assert all(Path(path).name == ".rokuga.lock" for path in after.keys() - before.keys())


@pytest.mark.system
async def test_a_daemon_without_its_port_recovers_nothing(tmp_path: Path) -> None:
    async with running(config_in(tmp_path / "first")) as addresses:
        port = addresses.api_url.rsplit(":", 1)[1].strip("/")
        code, lines = await asyncio.to_thread(run, tmp_path / "second", {"api_port": port})
        assert code == 1
        assert f"127.0.0.1 port {port}: Address already in use" in lines[-1]
        assert not list((tmp_path / "second").rglob("*.sqlite3"))


async def test_both_directories_may_be_the_same_or_one_inside_the_other(tmp_path: Path) -> None:
    for archive, data in (("a", "a"), ("b", "b/data"), ("c/archive", "c")):
        folders = {"archive_dir": str(tmp_path / archive), "data_dir": str(tmp_path / data)}
        async with running(config_in(tmp_path, **folders)):
            pass
        async with running(config_in(tmp_path, **folders)):
            pass
    assert (tmp_path / "c").stat().st_mode & 0o055, "who may read recordings gets there"


async def test_data_dir_is_private(tmp_path: Path) -> None:
    """Also an existing database with other permissions; an existing directory keeps its permissions."""
    for _ in range(2):
        async with running(config_in(tmp_path)):
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").glob("rokuga.sqlite3*")}
            assert set(modes.values()) == {0o600}, modes
            assert len(modes) == 3
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        (tmp_path / "data/rokuga.sqlite3").chmod(0o644)


async def ready(url: str, *, is_ready: bool) -> dict[str, str]:
    """Wait until the daemon is ready, or not; return its faults."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}readyz") as response:
                if (response.status == 200) is is_ready:
                    return dict((await response.json())["faults"])
            await asyncio.sleep(0.05)


async def start_recording(url: str) -> tuple[int, dict[str, Any]]:
    headers = {"x-sora-target": "Sora_20161101.StartRecording"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"channel_id": "sora", "expire_time": 60}, headers=headers) as response,
    ):
        return response.status, await response.json()


async def test_an_archive_dir_that_is_a_file_is_a_fault_until_it_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """/readyz, StartRecording and the log have path and errno; afterwards recordings are possible again."""
    path = tmp_path / "archive"
    path.write_text("")
    told = f"{path}: Not a directory (errno 20): it needs to be a directory"
    async with running(config_in(tmp_path)) as addresses:
        assert (await ready(addresses.api_url, is_ready=False))["archive_dir"] == told
        status, answer = await start_recording(addresses.api_url)
        refusal = answer["error_reason"]
        assert (status, refusal["errno"], refusal["path"]) == (400, 20, str(path))
        assert capsys.readouterr().out.count("Not a directory (errno 20)") == 1
        path.unlink()
        await ready(addresses.api_url, is_ready=True)
        while (await start_recording(addresses.api_url))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.system
async def test_a_read_only_archive_dir_is_a_fault_until_it_is_writable(tmp_path: Path) -> None:
    with mounted(tmp_path / "archive", "-t", "tmpfs", "-o", "ro", "tmpfs") as disk:
        async with running(config_in(tmp_path)) as addresses:
            faults = await ready(addresses.api_url, is_ready=False)
            assert "Read-only file system (errno 30)" in faults["archive_dir"]
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)  # noqa: ASYNC221
            await ready(addresses.api_url, is_ready=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that other users can enter, unlike those of pytest, but not write."""
    if os.geteuid() != 0:
        lacks("another user takes root")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


STRANGER = 1_234_567


@pytest.mark.system
def test_a_data_dir_of_another_user_prevents_the_start_with_one_line(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    code, lines = run(open_folder, {}, user=STRANGER)
    assert code == 1
    (line,) = lines
    assert f"{open_folder}/data/.rokuga.lock: Permission denied (errno 13)" in line
    assert f"uid {STRANGER}, gid 0 needs to read and write it" in line
    assert f"{open_folder}/data belongs to uid 0, gid 0, mode 0755" in line


@pytest.mark.system
def test_a_database_of_another_user_prevents_the_start_with_one_line(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    (open_folder / "data").chmod(0o770)
    sqlite3.connect(open_folder / "data/rokuga.sqlite3").close()
    (open_folder / "data/rokuga.sqlite3").chmod(0o600)
    (open_folder / "archive").mkdir(0o770)
    (open_folder / "archive").chmod(0o770)
    code, lines = run(open_folder, {}, user=STRANGER)
    assert code == 1
    (line,) = lines
    assert f"{open_folder}/data/rokuga.sqlite3: Permission denied (errno 13)" in line
    assert "it belongs to uid 0" in line


@pytest.mark.system
def test_any_uid_of_group_0_works_in_folders_of_that_group(open_folder: Path) -> None:
    """As in containers: a uid without a name, without a home, with no other writable directory."""
    for name in ("archive", "data"):
        (open_folder / name).mkdir()
        (open_folder / name).chmod(0o770)
    environment = os.environ | loopback_environment(open_folder, log_format="json")
    environment |= {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    for user in (STRANGER, STRANGER):
        command = [sys.executable, "-m", "rokuga", "run"]
        daemon = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, user=user, group=0, extra_groups=[]
        )
        assert daemon.stderr is not None
        lines = []
        for line in daemon.stderr:
            lines.append(line)
            if b'"ready"' in line:
                break
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate()
        assert daemon.returncode == 0, lines
    assert {path.stat().st_uid for path in (open_folder / "data").iterdir()} == {STRANGER}
