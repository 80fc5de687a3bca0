"""Runs the services of compose.yaml in containers of an image: `python -m tests.container.services IMAGE`.

To be run in a network namespace of its own, so that the ports are those of the file. Prints what it found, as JSON.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.container.engine import ENVIRONMENT, ROOT, Container, Image, payload, terminate

READY_S = 60
OTHER = "192.0.2.1"
"""What comes over it comes as from an engine's host: to an address that is not loopback, and from one."""
PAGE = "localhost:5000"
"""How the browser on that host calls the page."""


def bring_up_the_network() -> None:
    """Bring up loopback, with OTHER on it, in a network namespace that has nothing else."""
    for command in ("link set lo up", f"address add {OTHER}/32 dev lo"):
        subprocess.run(["ip", *command.split()], check=True)


async def run_services(image: Image, container: Container) -> dict[str, Any]:
    """Run the daemon and the sink, record a clip that comes from outside, and end them."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    environment = services["rokuga"]["environment"]
    entrypoint = image.config["Entrypoint"]
    health = container.process(image.config["Healthcheck"]["Test"][1:], environment)
    facts: dict[str, Any] = {"unhealthy": await _run(health)}
    sink = await _start(container.process([*entrypoint, *services["sink"]["command"]]))
    daemon = await _start(container.process([*entrypoint, *image.config["Cmd"]], environment))
    try:
        async with asyncio.timeout(READY_S):
            while await _run(health):
                pass
        facts["daemon"] = _ids(payload(daemon.pid))
        facts["by_name"] = _call("ListStartedRecording", {}, host="rokuga:3000")
        facts["page"] = _fetch(urllib.request.Request(f"http://{OTHER}:5000/", headers={"host": PAGE}))
        start = "StartRecording", {"channel_id": "sora", "expire_time": 600}
        facts["foreign_page"] = _call_of_page(*start, origin="http://example.com")
        facts["own_page"] = _call_of_page(*start, origin=f"http://{PAGE}")
        clip = str(ROOT / "media-samples/vp9-opus.webm")
        url = f"ws://{OTHER}:5000/signaling"
        facts["publish"] = await _run(
            [sys.executable, "-m", "rokuga", "publish", clip, "--channel", "sora", "--url", url]
        )
        _call("StopRecording", {"channel_id": "sora"})
        for name, process in (("exit", daemon), ("sink", sink)):
            terminate(process.pid)
            facts[name] = await asyncio.wait_for(process.wait(), READY_S)
    finally:
        for process in (daemon, sink):
            if process.returncode is None:
                process.kill()
                await process.wait()
    return facts


def files_of(container: Container, folder: str) -> dict[str, Any]:
    """Return the kinds of files that were recorded, their owners, and the bytes of media."""
    listing = container.run("find", folder, "-type", "f", "-printf", "%f %U %s\n").stdout
    files = [(Path(name), int(owner), int(size)) for name, owner, size in map(str.split, listing.splitlines())]
    recorded = [(path, owner, size) for path, owner, size in files if not path.name.startswith(".")]
    return {
        "files": sorted(path.name.partition("-")[0] + path.suffix for path, _, _ in recorded),
        "owners": sorted({owner for _, owner, _ in recorded}),
        "webm_bytes": sum(size for path, _, size in recorded if path.suffix == ".webm"),
    }


async def _start(words: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(*words, stdout=sys.stderr, env=ENVIRONMENT)


async def _run(words: list[str]) -> int:
    process = await _start(words)
    return await asyncio.wait_for(process.wait(), READY_S)


def _ids(pid: int) -> list[int]:
    """Return the user, the group and the further groups of a process."""
    lines = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return [int(lines["Uid"].split()[1]), int(lines["Gid"].split()[1]), *map(int, lines["Groups"].split())]


def _call(operation: str, body: Mapping[str, Any], host: str = f"{OTHER}:3000") -> int:
    headers = {"x-sora-target": f"Sora_20161101.{operation}", "host": host}
    return _fetch(urllib.request.Request(f"http://{OTHER}:3000/", json.dumps(body).encode(), headers))


def _call_of_page(operation: str, body: Mapping[str, Any], origin: str) -> int:
    headers = {"x-sora-target": f"Sora_20161101.{operation}", "host": PAGE, "origin": origin}
    return _fetch(urllib.request.Request(f"http://{OTHER}:5000/api", json.dumps(body).encode(), headers))


def _fetch(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def main() -> None:
    """Run the services, and print the facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    options = parser.parse_args()
    bring_up_the_network()
    image = Image(options.image)
    with image.container("--add-host=rokuga:127.0.0.1", "--add-host=sink:127.0.0.1") as container:
        facts = asyncio.run(run_services(image, container))
        json.dump(facts | files_of(container, image.environment["ROKUGA_ARCHIVE_DIR"]), sys.stdout)


if __name__ == "__main__":
    main()
