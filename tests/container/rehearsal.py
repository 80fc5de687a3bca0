"""Builds the image and runs the services of compose.yaml, without an engine: `python -m tests.container.rehearsal`.

To be run in mount and process namespaces of its own (unshare); it takes a network of its own once all is built, so
that the ports are those of the files. Prints what it found, as JSON.
"""

import argparse
import asyncio
import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.container.image import Builder, Image

ROOT = Path(__file__).parent.parent.parent
CLONE_NEWNET, SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x40000000, 0x8914, 0x8916, 1
READY_S = 60
PYTHON = ("ca-certificates", "python3", "python3-pip")
PACKAGES = {
    "python:3.11-slim-bookworm": PYTHON,
    "python:3.11-bookworm": (*PYTHON, "gcc", "libc6-dev", "python3-dev"),
}
"""What official images have, as Debian 12 has it, whose Python is 3.11."""
OTHER = "192.0.2.1"
"""What comes over it comes as from an engine's host: to an address that is not loopback, and from one."""
PAGE = "localhost:5000"
"""How the browser on that host calls the page."""

LOCK_BOTH = """
import os, pathlib, rokuga.recorder.directories as directories
for name in ("ROKUGA_ARCHIVE_DIR", "ROKUGA_DATA_DIR"):
    directories.DirectoryLock(pathlib.Path(os.environ[name])).check()
"""


def overlay_of_this_machine(_reference: str, root: Path) -> None:
    """Lay this machine's files as they are, changes apart, with Python where the official images have it."""
    layers = root.with_name(f"{root.name}.layers")
    layers.mkdir()
    root.mkdir()
    _mount("-t", "tmpfs", "tmpfs", layers)
    for name in ("upper", "work"):
        (layers / name).mkdir()
    _mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work", "overlay", root)
    python, library = Path(sys.executable).resolve(), Path(os.__file__).parent
    shutil.copy(python, root / "usr/local/bin/python")
    (root / "usr/local/lib" / library.name).mkdir(exist_ok=True)
    _mount("--bind", library, root / "usr/local/lib" / library.name)
    for path in (python, library, ROOT, Path(sys.prefix).resolve()):
        for folder in path.parents:  # root's own folders are closed to others
            (root / str(folder).lstrip("/")).chmod(0o755)
    _mount_system(root)


def fresh_debian(reference: str, root: Path) -> None:
    """Lay what debootstrap makes, with Python where the official images have it."""
    base = root.with_name(f"base-{reference}")
    if not base.exists():
        packages = f"--include={','.join(PACKAGES[reference])}"
        subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", base], check=True)
        (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for file in ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt"):
            if (Path("/") / file).exists():
                shutil.copy(Path("/") / file, base / file)
    subprocess.run(["cp", "--archive", base, root], check=True)
    _mount_system(root)


def _mount_system(root: Path) -> None:
    for folder in ("proc", "dev"):
        (root / folder).mkdir(exist_ok=True)
        _mount("--rbind", f"/{folder}", root / folder)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def enter_empty_network() -> None:
    """Leave the machine's network for one that has only a loopback, which is up, and OTHER on it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        address = struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, socket.inet_aton(OTHER))
        fcntl.ioctl(control, SIOCSIFADDR, address)


async def run_services(image: Image) -> dict[str, Any]:
    """Run the daemon and the sink of compose.yaml, record a clip that comes from outside, and end them."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    (image.root / "etc/hosts").write_text("127.0.0.1 localhost rokuga sink\n")
    (image.root / "etc/nsswitch.conf").write_text("hosts: files\n")
    environment = services["rokuga"]["environment"]
    health = image.process(image.healthcheck, environment)
    facts: dict[str, Any] = {"unhealthy": await _run(health), "version": await _said(image, "--version")}
    any_user = replace(image, user="1234567:0")
    facts["any_user"] = await _run(any_user.process(["python", "-c", LOCK_BOTH]))
    sink = await asyncio.create_subprocess_exec(*image.process([*image.entrypoint, *services["sink"]["command"]]))
    daemon = await asyncio.create_subprocess_exec(*image.process([*image.entrypoint, *image.command], environment))
    try:
        async with asyncio.timeout(READY_S):
            while await _run(health):
                pass
        facts["daemon"] = _ids(daemon.pid)
        facts["by_name"] = _call("ListStartedRecording", {}, host="rokuga:3000")
        facts["page"] = _fetch(urllib.request.Request(f"http://{OTHER}:5000/", headers={"host": PAGE}))
        start = "StartRecording", {"channel_id": "sora", "expire_time": 600}
        facts["foreign_page"] = _call_of_page(*start, origin="http://example.com")
        facts["own_page"] = _call_of_page(*start, origin=f"http://{PAGE}")
        clip = str(ROOT / "media-samples/vp9-opus.webm")
        url = f"ws://{OTHER}:5000/signaling"
        publish = [sys.executable, "-m", "rokuga", "publish", clip, "--channel", "sora", "--url", url]
        facts["publish"] = await _run(publish)
        _call("StopRecording", {"channel_id": "sora"})
        daemon.terminate()
        facts["exit"] = await asyncio.wait_for(daemon.wait(), READY_S)
        sink.terminate()
        facts["sink"] = await asyncio.wait_for(sink.wait(), READY_S)
    finally:
        for process in (daemon, sink):
            if process.returncode is None:
                process.kill()
                await process.wait()
    archive = image.root / image.environment["ROKUGA_ARCHIVE_DIR"].lstrip("/")
    files = [path for path in archive.glob("*/*") if path.is_file()]
    facts["files"] = sorted(path.name.partition("-")[0] + path.suffix for path in files)
    facts["owners"] = sorted({path.stat().st_uid for path in files})
    facts["webm_bytes"] = sum(path.stat().st_size for path in files if path.suffix == ".webm")
    return facts


async def _run(words: list[str]) -> int:
    process = await asyncio.create_subprocess_exec(*words, stdout=sys.stderr)
    return await asyncio.wait_for(process.wait(), READY_S)


async def _said(image: Image, *words: str) -> str:
    """Give what the image prints where it is started with these words."""
    words_of_it = image.process([*image.entrypoint, *words])
    process = await asyncio.create_subprocess_exec(*words_of_it, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


def _ids(pid: int) -> list[int]:
    """Give the user, the group and the further groups of a process."""
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


def compiler() -> dict[str, str]:
    """Give what makes RUN compile as `make compiled` did: its headers, and its cache of what came out."""
    cache = {"CC": "ccache gcc", "CCACHE_SLOPPINESS": "locale", "CCACHE_DIR": str(ROOT / "build/ccache")}
    return {"CPATH": sysconfig.get_path("include"), **(cache if shutil.which("ccache") else {})}


def has_compiler(image: Image) -> bool:
    """Say whether somebody in the image could compile."""
    return not subprocess.run(image.process(["/bin/sh", "-c", "command -v cc gcc c++ clang"]), check=False).returncode


def main() -> None:
    """Build, run, and print the facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fresh", action="store_true", help="in a fresh Debian; else over this machine's files")
    options = parser.parse_args()
    machine = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    if not options.fresh:  # mypy takes what it finds first, without PYTHONSAFEPATH, for the folder of the script
        machine |= {"PIP_NO_DEPS": "1", "PYTHONPATH": libraries, "PYTHONSAFEPATH": "1", **compiler()}
    base = fresh_debian if options.fresh else overlay_of_this_machine
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what the steps print goes to stderr
        image = Builder(ROOT, options.folder, base, machine).build()
        if not options.fresh:  # the dependencies are those of this environment
            (_site_packages(image) / "dependencies.pth").write_text(libraries)
        facts = {"has_compiler": has_compiler(image), "ports": image.ports, "volumes": image.volumes}
        facts["site_packages"] = sorted(path.name.partition("-")[0] for path in _site_packages(image).glob("*-info"))
        enter_empty_network()
        json.dump(facts | asyncio.run(run_services(image)), out)


def _site_packages(image: Image) -> Path:
    (found,) = (image.root / "opt/rokuga/lib").glob("python3*/site-packages")
    return found


if __name__ == "__main__":
    main()
