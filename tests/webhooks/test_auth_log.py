"""The log files of the authentication webhook."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from rokuga.recorder.clock import Clock
from rokuga.webhooks.auth import AuthWebhook, NoAnswer
from rokuga.webhooks.auth_log import AuthLog
from rokuga.webhooks.config import WebhookConfig
from tests.webhooks.consumer import Post, consuming

CONFIG = WebhookConfig(label="Studio", node_name="node@127.0.0.1", version="1.2.3")
CLOCK = Clock(wall_ns=lambda: 1_700_000_000_000_000_000)
QUESTION = {"role": "sendonly", "channel_id": "sora", "metadata": {"token": "secret"}}
ANSWER = {"allowed": True, "client_id": "alice", "metadata": "secret", "event_metadata": {"user": "secret"}}


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def ask(folder: Path, *, redact: bool = True, status: int = 200) -> str:
    """Ask once; gives the URL."""

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.Response(body=msgspec.json.encode(ANSWER), status=status)

    config = replace(CONFIG, log_dir=folder, redact=redact)
    async with consuming(answer) as consumer, AuthWebhook(consumer.url, config, CLOCK) as webhook:
        await webhook.ask("CONNECTION", QUESTION)
    return consumer.url


async def test_a_request_and_its_response_are_one_line(tmp_path: Path) -> None:
    """The names that soralog reads: id, timestamp, url, req, res; nothing else was told or answered."""
    url = await ask(tmp_path, redact=False)
    (line,) = lines(tmp_path, "auth_webhook.jsonl")
    assert len(line.pop("id")) == 26
    assert line == {
        "timestamp": "2023-11-14T22:13:20.000000Z",
        "url": url,
        "req": {
            "timestamp": "2023-11-14T22:13:20.000000Z",
            "version": "1.2.3",
            "label": "Studio",
            "node_name": "node@127.0.0.1",
            **QUESTION,
        },
        "res": ANSWER,
    }
    assert not lines(tmp_path, "auth_webhook_error.jsonl")


async def test_metadata_is_redacted(tmp_path: Path) -> None:
    await ask(tmp_path)
    assert b"secret" not in (tmp_path / "auth_webhook.jsonl").read_bytes()
    (line,) = lines(tmp_path, "auth_webhook.jsonl")
    assert line["req"]["metadata"] == line["res"]["metadata"] == line["res"]["event_metadata"] == "REDACTED"
    assert "event_metadata" not in line["req"]


async def test_a_request_without_a_response_is_logged_with_the_reason(tmp_path: Path) -> None:
    """It is in both files."""
    with pytest.raises(NoAnswer):
        await ask(tmp_path, status=503)
    (line,) = lines(tmp_path, "auth_webhook.jsonl")
    assert "res" not in line
    assert line["reason"] == "status 503"
    assert lines(tmp_path, "auth_webhook_error.jsonl") == [line]


async def test_a_full_disk_costs_log_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    async with AuthLog(tmp_path / "log", "http://example.com/", redact=True) as log:
        log.append(0, QUESTION, ANSWER)
        log.append(0, QUESTION, None, "timeout")
    assert log.refused_lines == 3
