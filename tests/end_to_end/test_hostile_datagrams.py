"""Hostile datagrams while a publisher is recorded: the file contains what was sent, and nothing is logged."""

import asyncio
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Consumer, Daemon
from tests.end_to_end.hostile_datagrams import (
    hostile_datagrams,
    keep_outgoing_peers,
    send_by_tcp,
    send_datagrams,
    socket_of,
    unknown_socket,
    username_of,
)
from tests.end_to_end.publishing import assert_all_is_stored, publishing

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
async def test_hostile_datagrams_harm_nothing(
    daemon: Daemon, consumer: Consumer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Of every kind, half from an unknown address and half from the publisher's; some by TCP."""
    peers = keep_outgoing_peers(monkeypatch)
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    async with publishing(daemon.signaling_url) as publication:
        await consumer.wait_for("archive.started")
        logged = len(daemon.log)
        with unknown_socket(daemon.media_port) as unknown, socket_of(peers[0]) as own:
            kinds = hostile_datagrams(username_of(peers[0]))
            for datagrams in kinds.values():
                for sender in (unknown, own):
                    await send_datagrams(sender, datagrams, count // len(kinds) // 2, lambda: asyncio.sleep(0.005))
                await send_by_tcp(daemon.media_port, datagrams, count // 1000)
        logged_since = daemon.log[logged:]
    await daemon.api("StopRecording", {"channel_id": "sora"})
    file = Path((await consumer.wait_for("archive.available"))["data"]["file_path"])
    assert_all_is_stored(publication, file)
    assert not logged_since
