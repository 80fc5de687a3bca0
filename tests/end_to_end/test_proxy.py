"""A WHIP publisher behind nginx, which serves the signalling port below a path prefix."""

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import readers
from tests.end_to_end.clients import gstreamer_command, run_client
from tests.end_to_end.daemon import Consumer, Daemon, running
from tests.end_to_end.test_foreign_clients import record
from tests.machine import lacks

pytestmark = pytest.mark.end_to_end

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/1; uwsgi_temp_path {folder}/2; scgi_temp_path {folder}/3;
  server {{
    listen 127.0.0.1:{port};
    location /rec/ {{ proxy_pass http://{upstream}/; }}
  }}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.asynccontextmanager
async def nginx(folder: Path, upstream: str) -> AsyncIterator[str]:
    """Serve `upstream` below /rec/; yield that URL."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin") or lacks("there is no nginx")
    port = free_port()
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port, upstream=upstream))
    process = await asyncio.create_subprocess_exec(program, "-p", folder, "-c", folder / "nginx.conf")
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            assert process.returncode is None
            await asyncio.sleep(0.02)  # nginx does not report that it listens
        yield f"http://127.0.0.1:{port}/rec"
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def daemon(tmp_path: Path, consumer: Consumer) -> AsyncIterator[Daemon]:
    """A daemon at the machine's addresses: GStreamer does not reach 127.0.0.1 from them."""
    async with running(tmp_path, consumer.url, media_address="") as started:
        yield started
    assert not started.faults()


async def test_a_session_is_patched_and_deleted_through_a_proxy_with_a_prefix(
    daemon: Daemon, consumer: Consumer, tmp_path: Path
) -> None:
    """The session URL is relative to the client's: https://github.com/meetecho/simple-whip-server/pull/7"""
    await record(daemon, "room")
    (tmp_path / "nginx").mkdir()
    async with nginx(tmp_path / "nginx", urlsplit(daemon.signaling_url).netloc) as base:
        command = gstreamer_command(f"{base}/whip/room", 2, "--codec", "VP8", "--trickle")
        sent = json.loads(await run_client(*command, PYTHONPATH=""))
        available = (await consumer.wait_for("archive.available"))["data"]
    assert (sent["status"], sent["patch"], sent["delete"]) == (201, 204, 200), sent
    requests = [line.split('"')[1] for line in (tmp_path / "nginx" / "access.log").read_text().splitlines()]
    assert [request.split()[0] for request in requests] == ["POST", "PATCH", "DELETE"]
    assert all(request.split()[1].startswith("/rec/whip-session/") for request in requests[1:])
    frames = readers.count_frames(Path(available["file_path"]))
    assert frames["video"] > 30
    destroyed = await consumer.wait_for("connection.destroyed")
    assert destroyed["data"]["reason"] == "TYPE-DISCONNECT"
