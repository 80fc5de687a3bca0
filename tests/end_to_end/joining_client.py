"""A client that publishes for a moment; it prints the seconds from its first byte to its first media packet.

python tests/end_to_end/joining_client.py URL
"""

import asyncio
import sys
import time
from pathlib import Path

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate

CLIP_FILE = Path(__file__).parents[2] / "media-samples" / "vp9-opus.webm"


async def join_and_leave(url: str) -> float:
    """Return the seconds from the first byte to the first media packet."""
    clip, publication = read_clip(CLIP_FILE), Publication()
    certificate = Certificate.make()
    began_s = time.monotonic()
    task = asyncio.create_task(publish(PublishOptions(CLIP_FILE, url, "joining"), clip, certificate, publication))
    sending = asyncio.create_task(publication.sending.wait())
    await asyncio.wait([task, sending], return_when=asyncio.FIRST_COMPLETED)
    took_s = time.monotonic() - began_s
    publication.stop.set()
    await task
    return took_s


if __name__ == "__main__":
    print(asyncio.run(join_and_leave(sys.argv[1])))
