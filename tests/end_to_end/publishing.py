"""One publisher of the project in the test process, with a looped clip that every reader can decode."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError
from tests import readers
from tests.end_to_end.daemon import CLIPS

CLIP_FILE = CLIPS / "vp9-opus.webm"
CLIP = read_clip(CLIP_FILE)


@contextlib.asynccontextmanager
async def publishing(
    signaling_url: str, channel_id: str = "sora", *, may_be_cut_off: bool = False
) -> AsyncIterator[Publication]:
    """Publish while the context is open; with `may_be_cut_off` the daemon may end first.

    Raises PublishError if it was refused or disconnected.
    """
    publication = Publication()
    options = PublishOptions(Path(), signaling_url, channel_id, loop=True)
    task = asyncio.create_task(publish(options, CLIP, Certificate.make(), publication))
    sending = asyncio.create_task(publication.sending.wait())
    try:
        await asyncio.wait([task, sending], return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            yield publication
    finally:
        sending.cancel()
        publication.stop.set()
        with contextlib.suppress(*([PublishError] if may_be_cut_off else [])):
            await task


def assert_all_is_stored(publication: Publication, file: Path) -> None:
    """Assert that a file contains everything that was sent, byte for byte: the looped clip."""
    kinds: Sequence[Kind] = ("audio", "video")
    for kind in kinds:
        stored, sent = readers.payloads(file, kind), readers.payloads(CLIP_FILE, kind)
        assert len(stored) >= publication.counts.units[kind] - 3, "the last may still have been under way"
        laps = len(stored) // len(sent) + 1
        assert stored == (sent * laps)[: len(stored)]
    assert publication.counts.jumps == 0
