"""How soon Chromium sends what it was asked for: 1280x720 with noise, 2.5 Mbit/s, and what the encoder says of it.

python -m benchmarks.bitrate VP8
"""

import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.end_to_end.clients import publish_with_browser
from tests.end_to_end.daemon import running

KBPS = 2500
REACHED = 0.95
SECONDS = 10.0
WINDOW_MS = 1000.0

Sample = Mapping[str, Any]


def sent_kbps(samples: Sequence[Sample], place: int) -> float:
    """Return the bits sent in the second before a sample, 0 for the first one."""
    now = samples[place]
    before = next((past for past in reversed(samples[:place]) if now["ms"] - past["ms"] >= WINDOW_MS), None)
    if before is None:
        return 0.0
    size = int(now.get("bytesSent") or 0) - int(before.get("bytesSent") or 0)
    return float(size * 8 / (now["ms"] - before["ms"]))


async def measure(codec: str) -> None:
    """Publish once; print twice a second what is sent, and when it was enough."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as daemon:
            await daemon.api("StartRecording", {"channel_id": "bench", "expire_time": 0})
            steps = [{"call": "sample", "arguments": [SECONDS]}]
            picture = {"width": "1280", "height": "720", "noise": "0.12"}
            result = await publish_with_browser(daemon, "bench", steps, codec=codec, bitRate=str(KBPS), **picture)
    samples = result["samples"]
    rates = [sent_kbps(samples, place) for place in range(len(samples))]
    for sample, rate in list(zip(samples, rates, strict=True))[::5]:
        estimate = (sample.get("availableOutgoingBitrate") or 0) / 1000
        print(
            f"{sample['ms']:6.0f} ms  {rate:5.0f} kbit/s  may send {estimate:5.0f}  {sample.get('frameWidth')} wide  "
            f"{sample.get('framesPerSecond')} fps  held back by {sample.get('qualityLimitationReason')}"
        )
    enough = next((s["ms"] for s, rate in zip(samples, rates, strict=True) if rate >= REACHED * KBPS), None)
    print(f"{codec}: {REACHED:.0%} of {KBPS} kbit/s sent over a second, after {enough} ms")


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else "VP8"))
