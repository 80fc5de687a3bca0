"""Datagrams that mean harm while a publisher is recorded: the file is what was sent, and the log says nothing."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from rokuga.api.publish import Publication, PublishOptions, publish
from rokuga.recorder.media import Kind
from rokuga.recorder.publisher.clip import read_clip
from rokuga.recorder.webrtc.dtls import Certificate
from tests import readers
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon
from tests.end_to_end.hostile import (
    hostile_datagrams,
    keep_outgoing_peers,
    socket_of,
    stranger_to,
    throw,
    throw_by_tcp,
    username_of,
)

pytestmark = pytest.mark.end_to_end

CLIP = CLIPS / "vp9-opus.webm"
KINDS: Sequence[Kind] = ("audio", "video")


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
async def test_hostile_datagrams_harm_nothing(
    daemon: Daemon, consumer: Consumer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Half from a stranger, half from the publisher's own address, of every kind; and some by TCP."""
    peers = keep_outgoing_peers(monkeypatch)
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    publication = Publication()
    options = PublishOptions(CLIP, daemon.signaling_url, "sora", loop=True)
    publishing = asyncio.create_task(publish(options, read_clip(CLIP), Certificate.make(), publication))
    await publication.sending.wait()
    await consumer.wait_for("archive.started")
    logged = len(daemon.log)
    with stranger_to(daemon.media_port) as stranger, socket_of(peers[0]) as own:
        kinds = hostile_datagrams(username_of(peers[0]))
        for datagrams in kinds.values():
            for thrower in (stranger, own):
                await throw(thrower, datagrams, count // len(kinds) // 2, lambda: asyncio.sleep(0.005))
            await throw_by_tcp(daemon.media_port, datagrams, count // 1000)
    said = daemon.log[logged:]
    publication.stop.set()
    await publishing
    await daemon.api("StopRecording", {"channel_id": "sora"})
    file = Path((await consumer.wait_for("archive.available"))["data"]["file_path"])
    for kind in KINDS:
        stored, sent = readers.payloads(file, kind), readers.payloads(CLIP, kind)
        assert len(stored) >= publication.counts.units[kind] - 3, "the last may still have been under way"
        laps = len(stored) // len(sent) + 1
        assert stored == (sent * laps)[: len(stored)]
    assert not said
    assert publication.counts.jumps == 0
