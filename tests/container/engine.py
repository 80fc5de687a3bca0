"""Images and containers by buildah, which needs root and no service: builds a Dockerfile, starts processes in it.

Isolation is chroot(2): a container has its own files, and the network and processes of whoever starts it.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
STORAGE = ROOT / ".tools/images"
ENVIRONMENT = os.environ | {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
BUILDAH = ("buildah", "--root", str(STORAGE / "root"), "--runroot", str(STORAGE / "run"))
CACHE = ROOT / "build/ccache"
REGISTRY_FILES = (Path("/etc/pip.conf"), Path("/etc/ssl/certs/ca-certificates.crt"))
"""What pip needs of this machine to reach the package registry."""


def buildah(*arguments: str) -> str:
    """Run a command of buildah; return what it prints. Raises CalledProcessError."""
    return subprocess.run(
        [*BUILDAH, *arguments], env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    ).stdout


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One build at a time: two of one image would remove each other's."""
    STORAGE.mkdir(parents=True, exist_ok=True)
    with (STORAGE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(tag: str, dockerfile: Path, *options: str) -> "Image":
    """Build an image of the checkout's files. Raises CalledProcessError where an instruction fails."""
    CACHE.mkdir(parents=True, exist_ok=True)
    mounted = [*(f"{file}:{file}:ro" for file in REGISTRY_FILES if file.exists()), f"{CACHE}:/ccache"]
    flags = [f"--volume={each}" for each in mounted]
    buildah(
        "bud", "--quiet", "--pull-never", "--format=docker", f"--tag={tag}", f"--file={dockerfile}", *flags, *options,
        str(ROOT),
    )  # fmt: skip
    buildah("rmi", "--prune")
    return Image(tag)


@dataclass(frozen=True)
class Image:
    """A built image; `config` is what Docker calls its configuration."""

    name: str
    config: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        document = json.loads(buildah("inspect", "--type=image", self.name))
        object.__setattr__(self, "config", document["Docker"]["config"])

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its ENV instructions set."""
        return dict(word.split("=", 1) for word in self.config["Env"])

    @contextlib.contextmanager
    def container(self, *options: str) -> Iterator["Container"]:
        """Make a container, and remove it in the end."""
        name = buildah("from", "--quiet", "--pull-never", *options, self.name).strip()
        try:
            yield Container(name, Path(buildah("mount", name).strip()))
        finally:
            buildah("rm", name)


@dataclass(frozen=True)
class Container:
    """The files of one container, at `root`, and how its processes are started."""

    name: str
    root: Path

    def process(
        self, words: Sequence[str], environment: Mapping[str, str] | None = None, user: str | None = None
    ) -> list[str]:
        """Return the arguments of a process that runs `words` in it; whatever they start ends with that process."""
        flags = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        flags += [f"--user={user}"] if user else []
        namespaces = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        return [*namespaces, *BUILDAH, "run", *flags, self.name, "--", *words]

    def run(self, *words: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a process to its end, as the image's user unless another is named."""
        command = self.process(words, user=user)
        return subprocess.run(command, env=ENVIRONMENT, check=False, capture_output=True, text=True)


def payload(pid: int) -> int:
    """Return the process in the container, a descendant of unshare's. Raises LookupError before it exists."""
    names = {"unshare", "buildah", "exe"}
    while True:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if name not in names and not name.startswith("memfd:"):
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or _children(pid)
        if not children:
            raise LookupError(f"process {pid} has not started anything yet")
        pid = int(children[0])


def _children(pid: int) -> list[str]:
    """Return the children of all threads: a runtime of Go forks from any of them."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def terminate(pid: int) -> None:
    """Send SIGTERM to the process in the container, as an engine does: buildah itself would not pass it on."""
    os.kill(payload(pid), signal.SIGTERM)
