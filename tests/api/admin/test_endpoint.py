"""The admin API over real HTTP: files, conditions, webhooks, events, and refused requests."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from rokuga.api.admin.endpoint import Admin
from rokuga.api.admin.watch import MAX_QUEUED, Viewer
from rokuga.api.app import signaling_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.identifiers import derived_id
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from rokuga.webhooks.outbox import Outbox
from tests.api.serving import served
from tests.fakes_recorder import FakeRecorder
from tests.material import ManualClock, event
from tests.webhooks.delivering import no_log, outbox

RECORDING = derived_id("recording")
CONNECTION = derived_id("connection")
NAME = f"archive-{CONNECTION}.webm"
CONTENT = bytes(range(256)) * 40


@dataclass
class AdminServer:
    """The signalling port with the page, over a real outbox and real files."""

    authority: str
    session: aiohttp.ClientSession
    outbox: Outbox
    admin: Admin
    folder: Path

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body, headers; the path is sent unchanged."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(f"http://{self.authority}{path}", encoded=True)
        async with self.session.request(method, url, headers=named) as answer:
            return answer.status, await answer.read(), {name.lower(): text for name, text in answer.headers.items()}

    async def raw(self, path: str) -> int:
        """Return the status of a path that HTTP clients would normalize."""
        host, _, port = self.authority.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {self.authority}\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert b"root:" not in answer
        return int(answer.split(b" ", 2)[1])


@contextlib.asynccontextmanager
async def serving_admin(folder: Path, **settings: Any) -> AsyncIterator[AdminServer]:
    """Serve a directory with one recording of one file, and one dead webhook."""
    archive = folder / "archive" / RECORDING
    archive.mkdir(parents=True)
    (archive / NAME).write_bytes(CONTENT)
    (archive / NAME.replace("webm", "json")).write_text('{"channel_id":"sora"}')
    config = replace(DaemonConfig(recorder=RecorderConfig(archive_dir=folder / "archive")), **settings)
    clock = ManualClock()
    async with outbox(folder, WebhookConfig(url="http://127.0.0.1:1/"), clock) as (store, opened):
        await store.append([event(0)])
        await opened.ingest(no_log)
        (entry,) = await opened.deliveries()
        await opened.settle([DeliveryResult(entry.seq, DeliveryState.DEAD, error="status 500")])
        recorder = FakeRecorder()
        admin = Admin(recorder, opened, config)
        async with (
            served(signaling_app(AppContext(recorder, config, admin=admin))) as authority,
            aiohttp.ClientSession() as session,
            admin.watch,
        ):
            yield AdminServer(authority, session, opened, admin, archive)


async def test_a_file_is_sent_whole_or_as_a_range(tmp_path: Path) -> None:
    """200, 206, 416 with their headers; HEAD has the headers alone (RFC 9110 sections 9.3.2, 14, 15.5.17)."""
    async with serving_admin(tmp_path) as server:
        path = f"/admin/archives/{RECORDING}/{NAME}"
        status, body, headers = await server.get(path)
        assert (status, body, headers["content-type"]) == (200, CONTENT, "video/webm")
        assert (headers["accept-ranges"], headers["x-content-type-options"]) == ("bytes", "nosniff")
        status, body, part = await server.get(path, range="bytes=10-19")
        assert (status, body, part["content-range"]) == (206, CONTENT[10:20], f"bytes 10-19/{len(CONTENT)}")
        status, body, behind = await server.get(path, range=f"bytes={len(CONTENT)}-")
        assert (status, body, behind["content-range"]) == (416, b"", f"bytes */{len(CONTENT)}")
        status, body, head = await server.get(path, "HEAD")
        assert (status, body, head["content-length"], head["etag"]) == (200, b"", str(len(CONTENT)), headers["etag"])
        _, _, saved = await server.get(f"{path}?download")
        assert saved["content-disposition"] == f'attachment; filename="{NAME}"'


async def test_conditional_requests_are_evaluated(tmp_path: Path) -> None:
    """If-None-Match, If-Match, the dates and If-Range (RFC 9110 section 13)."""
    async with serving_admin(tmp_path) as server:
        path = f"/admin/archives/{RECORDING}/{NAME}"
        _, _, headers = await server.get(path)
        etag, date = headers["etag"], headers["last-modified"]
        assert (await server.get(path, if_none_match=f'"x", W/{etag}'))[0] == 304
        assert (await server.get(path, if_modified_since=date))[0] == 304
        assert (await server.get(path, if_modified_since="yesterday"))[0] == 200
        assert (await server.get(path, if_match='"x"'))[0] == 412
        assert (await server.get(path, if_match="*"))[0] == 200
        assert (await server.get(path, if_unmodified_since="Mon, 01 Jan 2001 00:00:00 GMT"))[0] == 412
        assert (await server.get(path, range="bytes=0-1", if_range=etag))[0] == 206
        assert (await server.get(path, range="bytes=0-1", if_range=date))[0] == 206
        assert (await server.get(path, range="bytes=0-1", if_range='"x"'))[0] == 200
        os.utime(server.folder / NAME, (1, 1))
        assert (await server.get(path, range="bytes=0-1", if_range=etag))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/admin/archives/../../etc/passwd",
        "/admin/archives/%2e%2e/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        f"/admin/archives/{RECORDING}/..%2f..%2f..%2fetc%2fpasswd",
        f"/admin/archives/{RECORDING}/..%5c..%5cetc%5cpasswd",
        f"/admin/archives/{RECORDING}/.{NAME}.part",
        f"/admin/archives/{RECORDING}/{NAME}%00.json",
        f"/admin/archives/{RECORDING}/{NAME}%0a",
        f"/admin/archives/{derived_id('other 1')}/{NAME}",
        f"/admin/archives/{RECORDING}/{NAME[:-5]}_0001.webm",
        "/admin/recordings/..%2f..",
        "/pages/..%2fapp.py",
        "/pages/site.py",
        "/admin",
        "/admin/",
    ],
)
async def test_invalid_paths_are_404(tmp_path: Path, path: str) -> None:
    """Only existing ids are files; everything else is 404, or refused as malformed."""
    async with serving_admin(tmp_path) as server:
        assert await server.raw(path) in {400, 404}


async def test_symbolic_links_and_special_files_are_404(tmp_path: Path) -> None:
    """A symbolic link, a linked directory, a directory and a pipe with a file's name: 404, and not listed."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / NAME).write_text("root:")
    async with serving_admin(tmp_path) as server:
        (server.folder / (link := f"archive-{derived_id('other 2')}.webm")).symlink_to(tmp_path / "secret" / NAME)
        (server.folder / (folder := f"archive-{derived_id('other 3')}.webm")).mkdir()
        os.mkfifo(server.folder / (pipe := f"archive-{derived_id('other 4')}.webm"))
        (server.folder.parent / (linked := derived_id("other 5"))).symlink_to(tmp_path / "secret")
        for name in (link, folder, pipe):
            assert await server.raw(f"/admin/archives/{RECORDING}/{name}") == 404
        assert await server.raw(f"/admin/archives/{linked}/{NAME}") == 404
        listed = json.loads((await server.get("/admin/recordings"))[1])
        assert [[file["filename"] for file in each["files"]] for each in listed["recordings"]] == [[NAME]]
        assert listed["recordings"][0]["files"][0]["metadata"] == {"channel_id": "sora"}


async def test_a_dead_webhook_is_retried(tmp_path: Path) -> None:
    """It is pending again; a form, a settled entry and an unknown one are refused, each with its status."""
    async with serving_admin(tmp_path) as server:
        (entry,) = await server.outbox.deliveries()
        path = f"/admin/webhooks/{entry.event_id}"
        assert json.loads((await server.get(path))[1])["body"]["id"] == entry.event_id
        assert (await server.get(f"{path}/retry", "POST", content_type="text/plain"))[0] == 415
        assert (await server.get(f"{path}/retry", "POST", content_type="application/json"))[0] == 200
        assert (await server.outbox.deliveries())[0].state is DeliveryState.PENDING
        await server.outbox.settle([DeliveryResult(entry.seq, DeliveryState.DELIVERED)])
        assert (await server.get(f"{path}/retry", "POST", content_type="application/json"))[0] == 409
        assert (await server.get("/admin/webhooks/x/retry", "POST", content_type="application/json"))[0] == 404
        assert (await server.get("/admin/webhooks?state=lost"))[0] == 400


@pytest.mark.parametrize("path", ["/", "/pages/main.js", "/admin/state", "/admin/events", "/api"])
async def test_foreign_pages_are_refused(tmp_path: Path, path: str) -> None:
    """A foreign origin is 403, a foreign host name (DNS rebinding) 421, on every path."""
    async with serving_admin(tmp_path) as server:
        assert (await server.get(path, "POST", origin="http://evil.example"))[0] == 403
        assert (await server.get(path, origin="null"))[0] == 403
        assert (await server.get(path, host="evil.example"))[0] == 421


async def test_the_api_path_of_the_page_needs_the_token(tmp_path: Path) -> None:
    """`api_bearer_token` protects /api as it protects the API's port."""
    token = "a-token-that-nobody-guesses"
    target = {"x-sora-target": "Sora_20161101.ListArchiving"}
    async with serving_admin(tmp_path, api_bearer_token=token) as server:
        assert (await server.get("/api", "POST", **target))[0] == 401
        assert (await server.get("/api", "POST", authorization=f"Bearer {token}", **target))[:2] == (200, b"[]")


async def test_the_page_needs_the_password(tmp_path: Path) -> None:
    """Without it, or with another: 401 and a challenge (RFC 7617)."""
    async with serving_admin(tmp_path, admin_basic_auth="ann:secret") as server:
        status, _, headers = await server.get("/")
        assert (status, headers["www-authenticate"].split()[0]) == (401, "Basic")
        for wrong in ("Basic ???", "Basic " + "YW5uOnNlY3JldA"[:-2], "Bearer YW5uOnNlY3JldA=="):
            assert (await server.get("/admin/state", authorization=wrong))[0] == 401
        status, body, headers = await server.get("/", authorization="Basic YW5uOnNlY3JldA==")
        assert status == 200
        assert b"<title>Rokuga</title>" in body
        assert "default-src 'self'" in headers["content-security-policy"]


async def test_other_machines_are_refused(tmp_path: Path) -> None:
    """A request that a local proxy forwards is 403, unless the configuration allows it."""
    async with serving_admin(tmp_path) as server:
        assert (await server.get("/", x_forwarded_for="192.0.2.1"))[0] == 403
    async with serving_admin(tmp_path / "open", admin_loopback_address_only=False) as server:
        assert (await server.get("/", x_forwarded_for="192.0.2.1"))[0] == 200


async def _told(answer: aiohttp.ClientResponse, event: str) -> tuple[str, Any]:
    """Return id and data of the next event of this type."""
    last_id = ""
    name = ""
    async for raw in answer.content:
        field, _, value = raw.decode().strip().partition(": ")
        last_id = value if field == "id" else last_id
        name = value if field == "event" else name
        if field == "data" and name == event:
            return last_id, json.loads(value)
    raise AssertionError(f"the stream ended before {event}")


async def test_the_stream_resumes_and_ends(tmp_path: Path) -> None:
    """Everything at first, then changes; with Last-Event-ID missed changes only; the stream ends with the watch."""
    async with serving_admin(tmp_path) as server:
        url = f"http://{server.authority}/admin/events"
        async with server.session.get(url) as answer:
            assert answer.content_type == "text/event-stream"
            last_id, entries = await _told(answer, "webhooks")
            assert [entry["state"] for entry in entries] == ["dead"]
        await server.outbox.retry()
        async with server.session.get(url, headers={"last-event-id": last_id}) as answer:
            assert (await _told(answer, "webhook"))[1]["state"] == "pending"
            await server.outbox.drop(entries[0]["event_id"])
            assert (await _told(answer, "webhook"))[1]["state"] == "dropped"
            await server.admin.watch.__aexit__(None, None, None)
            await answer.content.read()
        assert (await server.get("/admin/events"))[0] == 503


def test_a_slow_viewer_is_disconnected() -> None:
    """Its queue is bounded; it reconnects and resumes."""
    viewer = Viewer()
    for _ in range(MAX_QUEUED):
        viewer.queue_change(b"x")
    was_ended = viewer.is_ended
    viewer.queue_change(b"x")
    assert (was_ended, viewer.is_ended) == (False, True)
    assert len(viewer.pop_all()) == MAX_QUEUED


def test_only_the_newest_state_is_queued() -> None:
    """Older states are replaced."""
    viewer = Viewer()
    viewer.queue_state(b"old")
    viewer.queue_state(b"new")
    assert viewer.pop_all() == b"new"
