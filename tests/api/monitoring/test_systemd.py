"""The real daemon under a service manager's socket, and the unit that starts it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rokuga.api.monitoring.systemd import Systemd
from tests.end_to_end.daemon import ROOT, start

WATCHDOG_S = 0.1
UNIT = ROOT / "deploy/rokuga.service"


async def _heard(listener: socket.socket, state: bytes) -> list[bytes]:
    """Return the notifications up to this state."""
    heard = [b""]
    while heard[-1] != state:
        heard.append(await asyncio.get_running_loop().sock_recv(listener, 4096))
    return heard[1:]


@pytest.mark.end_to_end
async def test_systemd_is_notified_of_start_watchdog_and_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop notifies the watchdog: a stopped process sends nothing until it continues."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", f"{WATCHDOG_S * 1e6:.0f}")
        process = await start(tmp_path)
        try:
            assert set(await _heard(listener, b"READY=1")) <= {b"WATCHDOG=1", b"READY=1"}
            assert await _heard(listener, b"WATCHDOG=1") == [b"WATCHDOG=1"]
            process.send_signal(signal.SIGSTOP)
            await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED)
            with contextlib.suppress(BlockingIOError):
                while listener.recv(4096):
                    """Notifications from before."""
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_heard(listener, b"WATCHDOG=1"), timeout=3 * WATCHDOG_S)
            process.send_signal(signal.SIGCONT)
            assert await _heard(listener, b"WATCHDOG=1") == [b"WATCHDOG=1"]
            process.send_signal(signal.SIGTERM)
            assert set(await _heard(listener, b"STOPPING=1")) <= {b"WATCHDOG=1", b"STOPPING=1"}
            _, said = await process.communicate()
            assert process.returncode == 0, said
        finally:
            if process.returncode is None:
                process.kill()


async def test_an_abstract_socket_is_notified() -> None:
    """systemd uses abstract sockets (unix(7))."""
    name = f"rokuga-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).notify("READY=1")
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}]
)
async def test_a_watchdog_of_another_process_is_not_notified(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(tmp_path / "notify"))
        given = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        async with Systemd(given | environment):
            await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            listener.recv(100)


async def test_without_systemd_or_with_a_missing_socket_nothing_fails(tmp_path: Path) -> None:
    with capture_logs() as lines:
        Systemd({}).notify("READY=1")
        assert lines == []
        Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify("READY=1")
    assert [line["event"] for line in lines] == ["notifying systemd failed"]


@pytest.mark.system
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` reports nothing, with this interpreter in place of the installed one."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/rokuga/bin/rokuga", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], check=False, capture_output=True, text=True
    )
    assert (verified.returncode, verified.stderr) == (0, "")
