"""A daemon, its clients, and attackers with eight addresses, each on a machine (network namespace) of its own.

The effects on recorded clients, on joining clients and on callers of the API are returned as a value, which a test
checks and a benchmark prints.
"""

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import readers
from tests.end_to_end.daemon import ROOT
from tests.end_to_end.publishing import CLIP_FILE
from tests.recorder.webrtc.namespaces import NamespaceNetwork, machine_of, networked

RECORDER, CLIENTS = "10.9.1.1", "10.9.1.2"
ATTACKED = "10.9.2.1"
ATTACKERS = tuple(f"10.9.2.{place}" for place in range(11, 19))
KINDS = ("offers", "answers", "silent", "pings")
CALL = """
import http.client, json, sys, time
until, times = time.monotonic() + float(sys.argv[1]), []
while time.monotonic() < until:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=30)
    connection.request("POST", "/", "{}", {"x-sora-target": "Sora_20161101.ListStartedRecording"})
    assert connection.getresponse().status == 200
    connection.close()
    times.append(time.monotonic() - began)
    time.sleep(0.05)
print(json.dumps(times))
"""
"""A program that calls the API for so many seconds, on a new connection each time."""


@dataclass
class AttackResult:
    """The effects of an attack."""

    response_times_s: Sequence[float] = ()
    joining_times_s: list[float] = field(default_factory=list)
    publishers: Sequence[str] = ()
    missing: Sequence[str] = ()
    attacks: dict[str, Any] = field(default_factory=dict)
    peak_rss_bytes: int = 0
    faults: Sequence[str] = ()

    @property
    def median_response_s(self) -> float:
        """The median response time of the API."""
        return statistics.median(self.response_times_s)


async def attack(folder: Path, publishers: int, seconds: float) -> AttackResult:
    """Record so many publishers during all attacks together, for so long."""
    result = AttackResult()
    with networked("recorder", "clients", "attackers") as network:
        network.link(("recorder", "eth1"), ("clients", "eth0"), (f"{RECORDER}/24", f"{CLIENTS}/24"))
        network.link(("recorder", "eth2"), ("attackers", "eth0"), (f"{ATTACKED}/24", f"{ATTACKERS[0]}/24"))
        for address in ATTACKERS[1:]:
            network.run("attackers", "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        async with _daemon(folder, network, result) as pid:
            await _call(network, "StartRecording", {"channel_id": "sora", "expire_time": 0})
            sending = await _python(network, "clients", "-m", "rokuga", *_publish(publishers, seconds + 4))
            await _recorded(network, publishers)
            attackers = [
                await _python(
                    network, "attackers", "tests/end_to_end/attackers.py",
                    kind, "5000", str(seconds), ATTACKED, *ATTACKERS,
                )
                for kind in KINDS
            ]  # fmt: skip
            calling = await _python(network, "recorder", "-c", CALL, str(seconds))
            await _join_repeatedly(network, seconds, result)
            result.response_times_s = json.loads((await calling.communicate())[0])
            for kind, process in zip(KINDS, attackers, strict=True):
                result.attacks[kind] = json.loads((await process.communicate())[0])
            output = (await sending.communicate())[0].decode()
            result.peak_rss_bytes = _peak_rss_bytes(pid)
            await _call(network, "StopRecording", {"channel_id": "sora"})
        _compare(folder, output, result)
    return result


def _publish(count: int, seconds: float, channel: str = "sora") -> Sequence[str]:
    options = ["--url", f"ws://{RECORDER}:5000/signaling", "--channel", channel, "--loop", "--count", str(count)]
    return ["publish", str(CLIP_FILE), *options, "--seconds", str(seconds)]


async def _join_repeatedly(network: NamespaceNetwork, seconds: float, result: AttackResult) -> None:
    """Connect another client every few seconds, and append how long it took until it could send media."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s - 3:
        process = await _python(
            network, "clients", "tests/end_to_end/joining_client.py", f"ws://{RECORDER}:5000/signaling"
        )
        duration = (await process.communicate())[0]
        result.joining_times_s.append(float(duration) if duration else float("inf"))
        await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def _daemon(folder: Path, network: NamespaceNetwork, result: AttackResult) -> AsyncIterator[int]:
    settings = {
        "ARCHIVE_DIR": str(folder / "archive"),
        "DATA_DIR": str(folder / "data"),
        "MEDIA_ADDRESS": RECORDER,
        "LOG_FORMAT": "json",
    }
    environment = {f"ROKUGA_{key}": value for key, value in settings.items()}
    log = (folder / "daemon.log").open("wb")
    process = await _python(network, "recorder", "-m", "rokuga", "run", environment=environment, stderr=log)
    try:
        while b'"ready"' not in (folder / "daemon.log").read_bytes():
            assert process.returncode is None, (folder / "daemon.log").read_text()
            await asyncio.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        await process.wait()
        log.close()
        lines = (folder / "daemon.log").read_text().splitlines()
        result.faults = [line for line in lines if '"level":"error"' in line or '"level": "error"' in line]


async def _python(
    network: NamespaceNetwork, machine: str, *arguments: str, environment: Mapping[str, str] = {}, stderr: Any = None
) -> asyncio.subprocess.Process:
    """Run Python on a machine. Real attackers have their own cores: here they get low priority."""
    nice = ("nice", "-n", "19") if machine == "attackers" else ()
    return await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", machine_of(machine), *nice, sys.executable, *arguments,
        cwd=ROOT, env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=stderr,
    )  # fmt: skip


async def _call(network: NamespaceNetwork, operation: str, body: Mapping[str, Any]) -> Any:
    """Call the API from the recorder's own machine."""
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", machine_of("recorder"), "curl", "-sS", "http://127.0.0.1:3000/",
        "-H", f"x-sora-target: Sora_20161101.{operation}", "-d", json.dumps(body),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    return json.loads((await process.communicate())[0])


async def _recorded(network: NamespaceNetwork, publishers: int) -> None:
    """Wait until so many publishers are recorded."""
    while len(await _call(network, "ListArchiving", {})) < publishers:  # noqa: ASYNC110  # in another process
        await asyncio.sleep(0.2)


def _peak_rss_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def _compare(folder: Path, output: str, result: AttackResult) -> None:
    """Compare every file with what its publisher reports that it has sent."""
    sent = {
        found[1]: (int(found[2]), int(found[3])) for found in re.finditer(r"(\w{26}): (\d+) pictures, (\d+)", output)
    }
    result.publishers = list(sent)
    missing = []
    for connection_id, (pictures, sounds) in sent.items():
        file = next((folder / "archive").glob(f"*/archive-{connection_id}.webm"), None)
        for kind, count in (("video", pictures), ("audio", sounds)):
            stored = [] if file is None else readers.payloads(file, kind)  # type: ignore[arg-type]
            clip = readers.payloads(CLIP_FILE, kind)  # type: ignore[arg-type]
            if stored != (clip * (count // len(clip) + 1))[: len(stored)] or len(stored) < count - 3:
                missing.append(f"{connection_id} {kind}: {len(stored)} of {count}")
    result.missing = missing
