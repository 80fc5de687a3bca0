"""Publishers of another make, hundreds of them at half a core: the load generator in several processes.

It sends packets that were made once, over libdatachannel's ICE, DTLS and SRTP: 2.7 ms a publisher and second, where
our own publisher takes 5.5. A process connects one publisher after the other; several together begin one every 50 ms.
They give way to whoever asks the API meanwhile.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rokuga.devtools.soak.process_usage import usage
from tests.end_to_end.clients import MEDIA, place_load_generator

PROCESSES: Final = 4
"""As many as connect one after the other in 50 ms: one takes 190 ms, with the pause."""
RAMP_MS: Final = 50
VIDEO: Final = MEDIA / "v.ivf"
AUDIO: Final = MEDIA / "a.ogg"


class NoLoadError(RuntimeError):
    """There is no load generator, or it did not do its work."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The sums of all processes, from when the last publisher of each was connected."""

    publishers: int
    retries: int
    packets_per_s: float
    max_late_ms: float
    nacks: int


class Crowd:
    """Processes that publish; they end by themselves, or by `end`."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes
        self._reading = [asyncio.create_task(process.communicate()) for process in processes]

    def cpu_s(self) -> float:
        """User and system time so far."""
        return sum(usage(process.pid).cpu_s for process in self._processes)

    async def end(self) -> Sent:
        """Disconnect all publishers; return the sums. Raises NoLoadError if a process has no result."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        outputs = [_lines(out) for out, _ in await asyncio.gather(*self._reading)]
        results = [line for lines in outputs for line in lines if line["ev"] == "result"]
        if len(results) < len(outputs):
            raise NoLoadError(f"a load generator has no result: {outputs}")
        return Sent(
            publishers=sum(result["connected"] for result in results),
            retries=sum(line["ev"] == "retry" for lines in outputs for line in lines),
            packets_per_s=sum(result["pkts_per_s_each"] * result["connected"] for result in results),
            max_late_ms=max(result["max_late_ms"] for result in results),
            nacks=sum(result["total"]["nack"] for result in results),
        )


@contextlib.asynccontextmanager
async def publishing(url: str, channel: str, count: int, processes: int = PROCESSES) -> AsyncIterator[Crowd]:
    """Publish from so many clients to a channel, until the context is left. Raises NoLoadError."""
    folder = place_load_generator()
    if folder is None or shutil.which("node") is None:
        raise NoLoadError("the load generator is not beside this checkout, or node is not installed")
    shares = [share for place in range(processes) if (share := (count + place) // processes)]
    started = [await _start(folder, url, channel, share) for share in shares]
    crowd = Crowd(started)
    try:
        yield crowd
    finally:
        for process in started:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        await asyncio.gather(*(process.wait() for process in started))


async def _start(folder: Path, url: str, channel: str, count: int) -> asyncio.subprocess.Process:
    command = [
        "nice", "node", "loadgen.mjs", "--signal", "sora", "--url", url, "--opt", f"channel={channel}",
        "--bind", "127.0.0.1", "--count", count, "--seconds", 3600, "--ramp", RAMP_MS, "--rtx",
        "--video", VIDEO, "--audio", AUDIO,
    ]  # fmt: skip
    return await asyncio.create_subprocess_exec(*map(str, command), cwd=folder, stdout=asyncio.subprocess.PIPE)


def _lines(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
