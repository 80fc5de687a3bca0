"""`rokuga webhooks`: list, show, retry and drop undelivered events."""

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
    """The data_dir of a daemon with dead events, at most two, and a pending one."""
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


def run_command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """Run the command; return its exit code and output lines."""
    code = main(["webhooks", *words])
    return code, capsys.readouterr().out.splitlines()


def test_the_list_shows_the_state_of_each_event_and_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    code, (waiting, dead, _, summary) = run_command(capsys, "list")
    assert code == 0
    assert waiting.startswith(f"{WAITING.id} pending   archive.available       other x0 due ")
    assert dead == f"{DEAD.id} dead      archive.available       sora x1 (status 500)"
    assert summary == "1 pending; 0 parked; 2 dead, kept for 720 h; 2 of each at most; 1 forgotten"
    assert len(run_command(capsys, "list", "--state", "dead", "--limit", "1")[1]) == 2


def test_an_event_is_shown_retried_and_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    code, (body,) = run_command(capsys, "show", DEAD.id)
    assert code == 0
    assert f'"id":"{DEAD.id}"' in body
    assert run_command(capsys, "retry", DEAD.id) == (0, ["1 event"])
    assert run_command(capsys, "retry") == (0, ["3 events"])
    assert run_command(capsys, "drop", DEAD.id) == (0, ["1 event"])
    for action in ("show", "retry", "drop"):
        assert run_command(capsys, action, DEAD.id)[0] == 1


def test_a_missing_database_is_reported_and_not_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROKUGA_DATA_DIR", str(tmp_path / "nowhere"))
    assert run_command(capsys, "list") == (1, [])
    assert not (tmp_path / "nowhere").exists()
