"""`rokuga webhooks`: what an operator sees of events that were not delivered, and does with them."""

import asyncio
from pathlib import Path

import pytest

from rokuga.cli.__main__ import main
from rokuga.recorder.clock import Clock
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from tests.material import event
from tests.webhooks.delivering import IngestingOutbox

DEAD, WAITING = event("dead"), event("waiting", "other")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A daemon's folder with an event that was given up, and one that waits; two dead ones are the limit."""
    asyncio.run(fill(tmp_path / "rokuga.sqlite3"))
    monkeypatch.setenv("ROKUGA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ROKUGA_WEBHOOK_DEAD_MAX_NUMBER", "2")
    return tmp_path


async def fill(path: Path) -> None:
    config = WebhookConfig(url="http://127.0.0.1:1/", dead_max_number=2)
    async with SqliteStore(path) as store, IngestingOutbox(path, store, config, Clock()) as box:
        await store.append([event("first"), event("second"), DEAD, WAITING])
        await box.ingest()
        await box.settle([DeliveryResult(seq, DeliveryState.DEAD, error="status 500") for seq in (1, 2, 3)])


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """Run the command; give its exit code and its lines."""
    code = main(["webhooks", *words])
    return code, capsys.readouterr().out.splitlines()


def test_the_list_shows_how_each_stands_and_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    code, (waiting, dead, _, summary) = said(capsys, "list")
    assert code == 0
    assert waiting.startswith(f"{WAITING.id} pending   archive.available       other x0 due ")
    assert dead == f"{DEAD.id} dead      archive.available       sora x1 (status 500)"
    assert summary == "1 pending; 0 parked; 2 dead, kept for 720 h; 2 of each at most; 1 forgotten"
    assert len(said(capsys, "list", "--state", "dead", "--limit", "1")[1]) == 2


def test_an_event_is_shown_retried_and_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    code, (body,) = said(capsys, "show", DEAD.id)
    assert code == 0
    assert f'"id":"{DEAD.id}"' in body
    assert said(capsys, "retry", DEAD.id) == (0, ["1 event"])
    assert said(capsys, "retry") == (0, ["3 events"])
    assert said(capsys, "drop", DEAD.id) == (0, ["1 event"])
    for action in ("show", "retry", "drop"):
        assert said(capsys, action, DEAD.id)[0] == 1


def test_a_folder_without_a_daemon_is_told_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROKUGA_DATA_DIR", str(tmp_path / "nowhere"))
    assert said(capsys, "list") == (1, [])
    assert not (tmp_path / "nowhere").exists()
