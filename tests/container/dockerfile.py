"""A Dockerfile as data: the instructions that ours uses, and no others."""

import fnmatch
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

INSTRUCTIONS = frozenset(
    {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
)


class DockerfileError(ValueError):
    """The text is no Dockerfile, or has what nothing here can carry out."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `flags` are its `--name=value`, `text` is the rest."""

    name: str
    flags: Mapping[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """The rest as a list: of JSON, or of a shell's words."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)

    @property
    def command(self) -> list[str]:
        """The rest as a process's arguments: a plain text is for the shell."""
        return self.words if self.text.startswith("[") else ["/bin/sh", "-c", self.text]


def read_dockerfile(text: str) -> list[Instruction]:
    """Read the instructions in their order. Raises DockerfileError."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*\n", " ", "\n".join(lines))
    return [_instruction(line.strip()) for line in joined.splitlines() if line.strip()]


def _instruction(line: str) -> Instruction:
    name, _, rest = line.partition(" ")
    if name not in INSTRUCTIONS:
        raise DockerfileError(f"{name} is not carried out here")
    flags = {}
    while match := re.match(r"\s*--([a-z-]+)=(\S+)\s+", rest):
        flags[match[1]] = match[2]
        rest = rest[match.end() :]
    return Instruction(name, flags, rest.strip())


@dataclass(frozen=True, slots=True)
class Ignored:
    """The patterns of a .dockerignore; the last that matches a path or what it is in decides."""

    patterns: Sequence[str]

    @classmethod
    def read(cls, text: str) -> "Ignored":
        """Read the file."""
        return cls([line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")])

    def __contains__(self, path: PurePosixPath) -> bool:
        verdicts = [not pattern.startswith("!") for pattern in self.patterns if _matches(path, pattern.lstrip("!"))]
        return bool(verdicts) and verdicts[-1]


def _matches(path: PurePosixPath, pattern: str) -> bool:
    anywhere = pattern.startswith("**/")
    return any(fnmatch.fnmatch(each, pattern.removeprefix("**/")) for each in _names(path, anywhere))


def _names(path: PurePosixPath, anywhere: bool) -> Iterator[str]:
    return iter(path.parts) if anywhere else (str(each) for each in (path, *path.parents[:-1]))
