"""Conditional requests (RFC 9110 section 13), pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from enum import Enum, auto


class ConditionResult(Enum):
    """What the response is."""

    ALL = auto()
    PART = auto()
    NOT_MODIFIED = auto()
    PRECONDITION_FAILED = auto()


@dataclass(frozen=True, slots=True)
class FileVersion:
    """The validators of a file: a strong entity tag, quotes included, and its modification time in Unix seconds."""

    etag: str
    modified_s: int

    @property
    def last_modified(self) -> str:
        """The modification time in the format of HTTP."""
        return formatdate(self.modified_s, usegmt=True)


def evaluate_conditions(headers: Mapping[str, str], version: FileVersion) -> ConditionResult:
    """Evaluate the conditions in the order of section 13.2.2. Header names are in lower case.

    PART means that the Range header applies; ALL that it does not, or is absent.
    """
    if "if-match" in headers:
        if not _matches(headers["if-match"], version.etag, is_weak=False):
            return ConditionResult.PRECONDITION_FAILED
    elif (moment := _seconds(headers.get("if-unmodified-since"))) is not None and version.modified_s > moment:
        return ConditionResult.PRECONDITION_FAILED
    if "if-none-match" in headers:
        if _matches(headers["if-none-match"], version.etag, is_weak=True):
            return ConditionResult.NOT_MODIFIED
    elif (moment := _seconds(headers.get("if-modified-since"))) is not None and version.modified_s <= moment:
        return ConditionResult.NOT_MODIFIED
    if "range" not in headers:
        return ConditionResult.ALL
    unchanged = headers.get("if-range", version.etag) in {version.etag, version.last_modified}
    return ConditionResult.PART if unchanged else ConditionResult.ALL


def _matches(header: str, etag: str, *, is_weak: bool) -> bool:
    """Return whether a list of entity tags, or `*`, contains this one. Ours contain no comma."""
    tags = [tag.strip() for tag in header.split(",")]
    return "*" in tags or etag in [tag.removeprefix("W/") if is_weak else tag for tag in tags]


def _seconds(date: str | None) -> float | None:
    """Parse a date into Unix seconds; None where it is invalid."""
    try:
        return parsedate_to_datetime(date).timestamp() if date is not None else None
    except (ValueError, OverflowError):
        return None
