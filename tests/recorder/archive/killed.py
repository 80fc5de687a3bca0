"""Records and is killed. `python -m tests.recorder.archive.killed FOLDER MEDIA_MS [expire] [silent] [split]`.

With `expire` the recording ends by itself after 60 s; with `silent` only the first 2 s have video; with `split` there
are parts of a second beside the whole file. The last line on stdout is how much memory the process had, in KiB: after
a tenth of its media, and at its end.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rokuga.recorder.media import Kind
from tests.support.recorder import running_recorder

VIDEO_MS = 2000


def resident_kib() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


async def record(folder: Path, media_ms: int, words: list[str]) -> None:
    """Start, publish, kill this process."""
    async with running_recorder(folder) as harness:
        splits: dict[str, Any] = {"split_duration": 1} if "split" in words else {}
        await harness.start(expire_time=60 if "expire" in words else 0, **splits)
        client = await harness.connect(event_metadata_json='{"user":7}')
        early_kib = 0
        for done_ms in range(0, media_ms, 100):
            kinds: tuple[Kind, ...] = ("audio", "video")
            await client.play(100, kinds=kinds[:1] if "silent" in words and done_ms >= VIDEO_MS else kinds)
            client.sent.clear()
            await harness.drain()
            if done_ms == media_ms // 10:
                early_kib = resident_kib()
        if "split" in words:
            await harness.event("split-archive.available", split_index=f"{media_ms // 1000:04d}")
        print(early_kib, resident_kib(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
