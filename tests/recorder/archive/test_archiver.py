"""One connection's archive: every frame is in the whole file and in exactly one part."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.events import Document
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from tests import readers
from tests.support.recorder import OPUS_20_MS, VP8_FRAME, Client, RecorderHarness, running_recorder

AVAILABLE, PART, PARTS_END = "archive.available", "split-archive.available", "split-archive.end"
KINDS: tuple[Kind, ...] = ("audio", "video")


async def play(harness: RecorderHarness, client: Client, seconds: int, **options: Any) -> None:
    """Play while the disk keeps up."""
    for _ in range(seconds * 2):
        await client.play(500, **options)
        await harness.drain()


async def parts(harness: RecorderHarness) -> list[Document]:
    """Return the documents of the parts in their order, each equal to the JSON file."""
    found = sorted((event.document for event in await harness.events(PART)), key=lambda part: part["split_index"])
    assert all(beside(part) == part for part in found)
    return found


def beside(part: Document) -> Document:
    """Read the document beside a file."""
    document: Document = json.loads(Path(part["metadata_file_path"]).read_text())
    return document


def stored(part: Document) -> readers.Packets:
    """Read a file back."""
    return readers.packets(Path(part["file_path"]))


async def test_the_parts_joined_equal_the_whole_file(harness: RecorderHarness) -> None:
    """Each payload; each part begins at 0 with a key frame, where the previous one ended."""
    await harness.start(split_duration=2)
    client = await harness.connect()
    begin_ms = harness.clock.now_ns // NS_PER_MS
    await play(harness, client, 9, is_keyframe=lambda ms: (ms - begin_ms) % 680 == 0)
    await harness.stop()
    (whole,) = await harness.events(AVAILABLE)
    listed = await parts(harness)
    assert [part["split_index"] for part in listed] == ["0001", "0002", "0003", "0004", "0005"]
    together: dict[Kind, list[bytes]] = {kind: [] for kind in KINDS}
    for part in listed:
        packets = stored(part)
        assert packets["video"][0][1:] == (0, True)
        assert packets["audio"][0][1] <= 20
        assert readers.duration_s(Path(part["file_path"])) > 0
        for kind in KINDS:
            together[kind] += [data for data, _, _ in packets[kind]]
    for kind in KINDS:
        assert together[kind] == readers.payloads(Path(whole.document["file_path"]), kind)
        assert together[kind] == [data for sent, _, data, _ in client.sent if sent == kind]
    for part, following in pairwise(listed):
        assert part["stop_timestamp"] == following["start_timestamp"]
    (end,) = await harness.events(PARTS_END)
    assert end.document["split_last_index"] == "0005"


async def test_pictures_captured_before_the_start_are_shown_1_ms_apart_from_it(harness: RecorderHarness) -> None:
    """The network delay is 400 ms: what arrives first was captured before the archive. Sound is left out."""
    client = await harness.connect()
    await client.play(1000)
    late_ms = harness.clock.now_ns // NS_PER_MS
    harness.clock.now_ns += 400 * NS_PER_MS
    await harness.start()
    for ms in range(late_ms, late_ms + 800, 20):
        if ms % 40 == 0:
            client.send("video", ms, VP8_FRAME[ms == late_ms] + b"%d" % ms, ms == late_ms)
        client.send("audio", ms, OPUS_20_MS + b"%d" % ms)
        await client.tick()
        harness.clock.now_ns += 20 * NS_PER_MS
    await harness.stop()
    (whole,) = await harness.events(AVAILABLE)
    times = {kind: [time for _, time, _ in packets] for kind, packets in stored(whole.document).items()}
    assert times["video"] == [*range(11), *range(40, 400, 40)]
    assert times["audio"] == list(range(0, 400, 20))


async def test_pictures_captured_within_a_millisecond_have_different_times(harness: RecorderHarness) -> None:
    """Chromium's fake camera, on a busy machine, captures two within 0.3 ms."""
    await harness.start()
    client = await harness.connect(audio=None)
    begin_ns = harness.clock.now_ns
    for rtp_time in (0, 30, 60, 2970):
        harness.clock.now_ns = begin_ns + rtp_time * NS_PER_MS // 90
        data = VP8_FRAME[not rtp_time] + b"%d" % rtp_time
        size = (0, 0) if rtp_time else client.size
        client.peer.hooks.sink.unit("video", AccessUnit(rtp_time, data, not rtp_time, harness.clock.now_ns, *size))
    await harness.stop()
    (whole,) = await harness.events(AVAILABLE)
    assert [time for _, time, _ in stored(whole.document)["video"]] == [0, 1, 2, 33]


async def test_late_sound_is_written_to_the_part_that_it_belongs_to(harness: RecorderHarness) -> None:
    """A key frame cuts; Opus packets of the 60 ms before it come 60 ms later: each is in exactly one part."""
    await harness.start(split_duration=10)
    client = await harness.connect()
    await play(harness, client, 9)
    begin_ms = harness.clock.now_ns // NS_PER_MS
    for ms in range(begin_ms, begin_ms + 3000, 20):
        harness.clock.now_ns = ms * NS_PER_MS
        if ms % 40 == 0:
            client.send("video", ms, VP8_FRAME[ms % 1000 == 0] + b"%d" % ms, ms % 1000 == 0)
        client.send("audio", ms - 60, b"\xfc%d" % (ms - 60))
        await client.tick()
    await harness.stop()
    first, second = [stored(part) for part in await parts(harness)]
    sent = [data for kind, _, data, _ in client.sent if kind == "audio"]
    assert [data for data, _, _ in (*first["audio"], *second["audio"])] == sent
    assert second["video"][0][1:] == (0, True)
    assert second["audio"][0][1] <= 20


@pytest.mark.parametrize("run", ["asked for", "ignored", "sound only"])
async def test_parts_begin_close_to_the_split_duration(harness: RecorderHarness, run: str) -> None:
    """60 s in parts of 10 s: on request within 0.5 s; without an answer to the next key frame; sound exactly."""
    await harness.start(split_duration=10, split_only=True)
    client = await harness.connect(video=None if run == "sound only" else "VP8")
    asked: list[int] = []
    requests = 1

    def is_keyframe(ms: int) -> bool:
        nonlocal requests
        if run == "asked for" and client.peer.keyframe_requests > requests:
            requests = client.peer.keyframe_requests
            asked.append(ms + 280)
        since_ms = ms - client.sent[0][1] if client.sent else 0
        return (
            not since_ms
            or (bool(asked) and ms >= asked[0] and bool(asked.pop(0)))
            or (run == "ignored" and since_ms % 7000 == 0)
        )

    await play(harness, client, 60, kinds=("audio",) if run == "sound only" else KINDS, is_keyframe=is_keyframe)
    await harness.stop()
    listed = await parts(harness)
    lengths = [readers.duration_s(Path(part["file_path"])) for part in listed]
    expected = {"asked for": [10] * 6, "ignored": [14, 7, 14, 7, 14, 4], "sound only": [10] * 6}[run]
    assert lengths == pytest.approx(expected, abs=0.03 if run == "sound only" else 0.55)
    for kind in KINDS:
        joined = [data for part in listed for data, _, _ in stored(part)[kind]]
        assert joined == [data for sent, _, data, _ in client.sent if sent == kind]
    if run != "sound only":
        assert all(stored(part)["video"][0][1:] == (0, True) for part in listed)


async def test_the_last_frames_before_a_stop_are_in_the_file(harness: RecorderHarness) -> None:
    """Stop 0 ms after the last packet: the last picture and the last Opus packet are there, and the file is whole."""
    await harness.start()
    client = await harness.connect()
    await play(harness, client, 10)
    await harness.stop()
    (available,) = await harness.events(AVAILABLE)
    packets = stored(available.document)
    for kind in KINDS:
        assert packets[kind][-1][0] == [data for sent, _, data, _ in client.sent if sent == kind][-1]
    assert readers.duration_s(Path(available.document["file_path"])) == pytest.approx(9.98)


async def test_pictures_before_any_key_frame_begin_no_part(harness: RecorderHarness) -> None:
    """The numbers of parts have no gap."""
    await harness.start(split_duration=1, split_only=True)
    client = await harness.connect(audio=None)
    await play(harness, client, 3, kinds=("video",), is_keyframe=lambda _ms: False)
    await play(harness, client, 1, kinds=("video",), is_keyframe=lambda ms: ms % 500 == 0)
    await harness.stop()
    first, *_ = await parts(harness)
    assert first["split_index"] == "0001"


async def test_the_end_of_parts_contains_the_kinds_of_the_parts(harness: RecorderHarness) -> None:
    """A client that offered video and never sent a picture has no video in its parts, nor at their end."""
    await harness.start(split_duration=1)
    client = await harness.connect()
    await play(harness, client, 3, kinds=("audio",))
    await harness.stop()
    (end,) = await harness.events(PARTS_END)
    assert all(not part["video"] for part in await parts(harness))
    keys = {"audio": True, "audio_codec_type": "OPUS", "video": False}
    assert {key: value for key, value in end.document.items() if key.startswith(("audio", "video"))} == keys


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_of_one_frame_has_a_duration(harness: RecorderHarness, kind: Kind) -> None:
    """Readers treat a Duration of 0 as a missing one."""
    await harness.start()
    client = await harness.connect()
    client.send(kind, harness.clock.now_ns // NS_PER_MS, VP8_FRAME[True] if kind == "video" else OPUS_20_MS)
    await harness.stop()
    (available,) = await harness.events(AVAILABLE)
    path = Path(available.document["file_path"])
    assert [time_ms for _, time_ms, _ in readers.packets(path)[kind]] == [0]
    assert readers.duration_s(path) > 0


async def test_dual_output_can_be_turned_off(tmp_path: Path) -> None:
    """`recording_dual_output = false`: parts only, as with `split_only`."""
    async with running_recorder(tmp_path, recording_dual_output=False) as harness:
        state = await harness.start(split_duration=1)
        client = await harness.connect()
        await play(harness, client, 2)
        await harness.stop()
        assert not await harness.events(AVAILABLE)
        assert not [name for name in harness.files(state.recording_id) if name.startswith("archive-")]
        (entry,) = (await harness.reported(state.recording_id)).document["archives"]
        assert entry["split_last_index"] == f"{len(await parts(harness)):04d}"


async def test_frames_that_arrive_before_the_start_is_stored_are_written(harness: RecorderHarness) -> None:
    """A slow store delays the creation of the file; what arrives meanwhile is in it."""
    await harness.start()
    client = await harness.connect()
    await harness.stop()
    gate = harness.store.save_archive

    async def slow(*arguments: Any) -> None:
        for _ in range(10):
            harness.clock.now_ns += 50 * NS_PER_MS
            client.send("audio", harness.clock.now_ns // NS_PER_MS, b"\xfc%d" % harness.clock.now_ns)
            await client.tick()
        await gate(*arguments)

    patched: Any = harness.store
    patched.save_archive = slow
    client.sent.clear()
    await harness.start("sora")
    patched.save_archive = gate
    await harness.stop()
    available = await harness.event(AVAILABLE)
    assert [data for data, _, _ in stored(available.document)["audio"]] == [data for _, _, data, _ in client.sent]


async def test_stats_contain_the_counters_that_sora_has_a_name_for(harness: RecorderHarness) -> None:
    """Counters by kind, and flat ones under Sora's names: of the file, and since the archive's start."""
    client = await harness.connect()
    client.peer.counters = {"audio": {"padding_packets": 3}, "video": {"plis": 1, "received_packets": 10}}
    await harness.start()
    client.peer.hooks.sink.sender_report("video", 1, 2, harness.clock.now_ns)
    client.peer.counters["audio"]["padding_packets"] += 1
    client.peer.counters["video"] |= {"plis": 3, "received_packets": 150, "padding_packets": 15}
    await play(harness, client, 2)
    await harness.stop()
    (available,) = await harness.events(AVAILABLE)
    stats = available.document["stats"]
    assert {name: value for name, value in stats.items() if name.startswith("total_")} == {
        "total_audio_empty_payload": 1,
        "total_audio_sender_report": 0,
        "total_video_sender_report": 1,
        "total_pli_trigger": 2,
        "total_stored_audio_packet": 100,
        "total_stored_video_packet": 125,
        "total_stored_video_keyframe_head": 2,
        "total_video_frame": 50,
    }
    assert stats["video"]["plis"] == 2
    assert stats["video"]["gaps"] == 0
