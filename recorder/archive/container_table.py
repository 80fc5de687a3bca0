"""The table of containers. The one module that imports their packages."""

import re
from collections.abc import Mapping
from typing import Final

from rokuga.recorder.archive.container import Container
from rokuga.recorder.archive.webm.container import WebmContainer
from rokuga.recorder.models import RecordingParameters

WEBM: Final = WebmContainer()

CONTAINERS: Final[Mapping[str, Container]] = {container.name: container for container in (WEBM,)}
"""By the `format` of documents."""

SUFFIXES: Final[Mapping[str, Container]] = {container.suffix: container for container in CONTAINERS.values()}

SUFFIX_PATTERN: Final = "|".join(map(re.escape, SUFFIXES))
"""Matches the suffix of a media file, in a regular expression; to be put into a group."""


def container_of(_parameters: RecordingParameters) -> Container:
    """Return the container of a recording's files."""
    return WEBM


def container_of_file(name: str) -> Container | None:
    """Return the container of a media file by its name; None for other files."""
    return SUFFIXES.get(name.rpartition(".")[2])
