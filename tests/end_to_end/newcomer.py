"""A client that comes, publishes for a moment and goes: prints how many seconds passed until it could send media.

python tests/end_to_end/newcomer.py URL
"""

import asyncio
import sys
import time
from pathlib import Path

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate

CLIP_FILE = Path(__file__).parents[2] / "media-samples" / "vp9-opus.webm"


async def come_and_go(url: str) -> float:
    """Return how long it took from the first byte to the first packet."""
    clip, publication = read_clip(CLIP_FILE), Publication()
    certificate = Certificate.make()
    began_s = time.monotonic()
    task = asyncio.create_task(publish(PublishOptions(CLIP_FILE, url, "newcomers"), clip, certificate, publication))
    sending = asyncio.create_task(publication.sending.wait())
    await asyncio.wait([task, sending], return_when=asyncio.FIRST_COMPLETED)
    took_s = time.monotonic() - began_s
    publication.stop.set()
    await task
    return took_s


if __name__ == "__main__":
    print(asyncio.run(come_and_go(sys.argv[1])))
