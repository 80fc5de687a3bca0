"""Builds a Dockerfile's image into a folder, every instruction as it stands. Needs root, for chroot and mounts."""

import os
import shutil
import string
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.container.dockerfile import Ignored, Instruction, read_dockerfile

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Base = Callable[[str, Path], None]
"""Lays the root of the image of a FROM into a folder."""


@dataclass
class Image:
    """A root, and how its processes are started."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "root"
    folder: str = "/"
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    healthcheck: Sequence[str] = ()
    health_flags: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[str] = ()
    ports: Sequence[str] = ()

    def process(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
        """Give the arguments that start a process in it, as its user, with nothing of our environment."""
        shell = 'cd "$0" && exec "$@"'
        group = self.user.rpartition(":")[2]
        ids = [] if self.user == "root" else [f"--userspec={self.user}", f"--groups={group}"]
        pairs = [f"{name}={value}" for name, value in (self.environment | dict(environment or {})).items()]
        command = ["chroot", *ids, str(self.root), "/bin/sh", "-c", shell, self.folder, *words]
        return ["env", "--ignore-environment", *pairs, *command]


@dataclass
class Builder:
    """Builds the stages of one Dockerfile. `machine` is what RUN needs of this machine to reach the registry."""

    context: Path
    folder: Path
    base: Base
    machine: Mapping[str, str]
    stages: dict[str, Image] = field(default_factory=dict)

    def build(self) -> Image:
        """Give the last stage. Raises CalledProcessError where a RUN fails."""
        image = None
        for instruction in read_dockerfile((self.context / "Dockerfile").read_text()):
            if instruction.name == "FROM":
                image = self._begin(instruction)
            else:
                assert image is not None, "an instruction before FROM"
                self._carry_out(image, instruction)
        assert image is not None
        return image

    def _begin(self, instruction: Instruction) -> Image:
        reference, *alias = instruction.text.split()
        name = alias[-1] if alias else "final"
        image = self.stages[name] = Image(self.folder / name)
        self.base(reference, image.root)
        return image

    def _carry_out(self, image: Image, instruction: Instruction) -> None:
        match instruction.name:
            case "RUN":
                subprocess.run(image.process(instruction.command, self.machine), check=True)
            case "COPY":
                self._copy(image, instruction)
            case "ENV":
                for word in instruction.words:
                    name, _, value = word.partition("=")
                    image.environment[name] = string.Template(value).substitute(image.environment)
            case "USER":
                image.user = instruction.text
            case "WORKDIR":
                image.folder = instruction.text
                _inside(image, image.folder).mkdir(parents=True, exist_ok=True)
            case "VOLUME":
                image.volumes = instruction.words
            case "EXPOSE":
                image.ports = instruction.words
            case "HEALTHCHECK":
                image.healthcheck = Instruction("CMD", {}, instruction.text.removeprefix("CMD ")).command
                image.health_flags = instruction.flags
            case "ENTRYPOINT":
                image.entrypoint = instruction.command
            case "CMD":
                image.command = instruction.command

    def _copy(self, image: Image, instruction: Instruction) -> None:
        """Copy as root; a folder's content, not the folder."""
        *sources, target = instruction.words
        stage = instruction.flags.get("from")
        ignored = Ignored([]) if stage else Ignored.read((self.context / ".dockerignore").read_text())
        for source in sources:
            origin = _inside(self.stages[stage], source) if stage else self.context / source

            def leave_out(folder: str, names: list[str]) -> set[str]:
                inside = PurePosixPath(os.path.relpath(folder, self.context))
                return set() if stage else {name for name in names if inside / name in ignored}

            shutil.copytree(origin, _inside(image, target), symlinks=True, ignore=leave_out, dirs_exist_ok=True)


def _inside(image: Image, path: str) -> Path:
    return image.root / path.lstrip("/")
