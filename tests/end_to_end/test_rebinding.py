"""A publisher changes its address or its transport while it is recorded: its file continues, byte for byte."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate, Transport
from tests.end_to_end.daemon import Consumer, Daemon
from tests.end_to_end.hostile_datagrams import keep_outgoing_peers
from tests.end_to_end.publishing import assert_all_is_stored, publishing

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("transports", [("udp", "udp", "udp"), ("tcp", "udp", "tcp", "tcp")])
async def test_a_publisher_whose_address_changes_is_recorded_without_a_gap(
    daemon: Daemon, consumer: Consumer, monkeypatch: pytest.MonkeyPatch, transports: Sequence[Transport]
) -> None:
    """A connectivity check from the new address, UDP or TCP, is enough; the old socket is closed at once."""
    peers = keep_outgoing_peers(monkeypatch)
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    async with publishing(daemon.signaling_url) as publication:
        await consumer.wait_for("archive.started")
        for transport in transports:
            before, old = publication.counts.units["video"], peers[0]._path
            assert old is not None
            peers[0]._path = await peers[0]._check(Candidate("127.0.0.1", daemon.media_port, transport))
            assert peers[0]._path is not None
            old.close()
            while publication.counts.units["video"] < before + 10:  # noqa: ASYNC110  # a counter has no event
                await asyncio.sleep(0.01)
    await daemon.api("StopRecording", {"channel_id": "sora"})
    available = await consumer.wait_for("archive.available")
    assert len(consumer.of_type("archive.available")) == 1
    assert_all_is_stored(publication, Path(available["data"]["file_path"]))
