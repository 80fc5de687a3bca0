"""A daemon that is killed while it writes a file, with a real publisher."""

from pathlib import Path

import pytest

from rokuga.devtools.publisher.sender import played
from tests import readers
from tests.end_to_end.daemon import Consumer, running
from tests.end_to_end.publishing import CLIP, CLIP_FILE, publishing

pytestmark = pytest.mark.end_to_end


async def test_a_killed_daemon_announces_its_file_at_the_next_start(tmp_path: Path, consumer: Consumer) -> None:
    """File and parts are complete, with the payloads of the clip; the recording continues, and has one report."""
    async with running(tmp_path, consumer.url) as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 2})
        async with publishing(daemon.signaling_url, may_be_cut_off=True) as publication:
            await consumer.wait_for("split-archive.available")
            daemon.kill()
            await daemon.process.wait()
    async with running(tmp_path, consumer.url) as daemon:
        available = await consumer.wait_for("archive.available")
        assert [each["channel_id"] for each in await daemon.api("ListStartedRecording")] == ["sora"]
        await daemon.api("StopRecording", {"channel_id": "sora"})
        report = await consumer.wait_for("recording.report")
        assert not daemon.faults()
    (destroyed,) = consumer.of_type("connection.destroyed")
    assert (destroyed["connection_id"], destroyed["data"]["reason"]) == (publication.connection_id, "CRASH")
    assert consumer.events.index(destroyed) > consumer.events.index(available)
    file = Path(available["data"]["file_path"])
    assert available["data"]["connection_id"] == publication.connection_id
    assert [entry["connection_id"] for entry in report["data"]["archives"]] == [publication.connection_id]
    counts = readers.decode_strictly(file)
    assert readers.inspect_with_hisui(file)["video_sample_count"] == counts["video"]
    pictures = readers.payloads(CLIP_FILE, "video")
    stored = readers.payloads(file, "video")
    runs = publication.runs["video"]  # after the PLI for a part it continues at the clip's next key frame
    places = [place for place, _ in played(CLIP.tracks["video"], CLIP.duration_ns, runs, 0, len(stored))]
    assert stored == [pictures[place] for place in places]
    once = {
        event["id"]: event for event in consumer.events
    }.values()  # an event that was being posted may be repeated
    types = [event["type"] for event in once]
    assert (
        types.count("archive.available") == types.count("split-archive.end") == types.count("recording.report") == 1
    )
    parts = [event for event in once if event["type"] == "split-archive.available"]
    assert [part["data"]["split_index"] for part in parts] == ["0001", "0002"][: len(parts)]
    (end,) = consumer.of_type("split-archive.end")
    assert end["data"]["split_last_index"] == parts[-1]["data"]["split_index"]
    joined = [data for part in parts for data in readers.payloads(Path(part["data"]["file_path"]), "video")]
    assert joined[: len(stored)] == stored[: len(joined)]


async def test_a_killed_daemon_that_lost_its_database_announces_its_file(tmp_path: Path, consumer: Consumer) -> None:
    """Event log and files are recovered: the recording continues, and has one report."""
    async with running(tmp_path, consumer.url) as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 1})
        async with publishing(daemon.signaling_url, may_be_cut_off=True) as publication:
            await consumer.wait_for("split-archive.available")
            daemon.kill()
            await daemon.process.wait()
    for path in (tmp_path / "data").glob("rokuga.sqlite3*"):
        path.unlink()
    async with running(tmp_path, consumer.url) as daemon:
        available = await consumer.wait_for("archive.available")
        assert available["data"]["connection_id"] == publication.connection_id
        readers.decode_strictly(Path(available["data"]["file_path"]))
        await daemon.api("StopRecording", {"channel_id": "sora"})
        report = await consumer.wait_for("recording.report")
        assert [entry["connection_id"] for entry in report["data"]["archives"]] == [publication.connection_id]
        assert not daemon.faults()
    types = [event["type"] for event in consumer.once()]
    assert (
        types.count("archive.available") == types.count("split-archive.end") == types.count("recording.report") == 1
    )
    assert not list(daemon.archive_dir.rglob(".*.part"))
