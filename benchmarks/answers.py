"""Response times of the API under load: twenty calls a second, to several targets in turn."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import aiohttp

PAUSE_S: Final = 0.05
OK: Final = 200
QUESTIONS: Final[Sequence[tuple[str, Mapping[str, Any]]]] = (
    ("Sora_20161101.ListArchiving", {}),
    ("Sora_20201013.ListConnections", {}),
    ("Sora_20171010.GetStatsReport", {}),
    ("Sora_20161101.ListStartedRecording", {}),
    ("Sora_20161101.StartRecording", {"channel_id": "nobody", "expire_time": 0}),
    ("Sora_20161101.StopRecording", {"channel_id": "nobody"}),
)
"""The last two start and stop a recording of an empty channel, which uses store and disk as well."""


class AnswerError(RuntimeError):
    """The API returned an error."""


class Answer(NamedTuple):
    """One response: its phase, its target and its time."""

    phase: str
    target: str
    ms: float


@dataclass
class Answers:
    """All responses, and the present phase."""

    phase: str = ""
    all: list[Answer] = field(default_factory=list)

    def phases(self) -> Iterator[tuple[str, Sequence[Answer]]]:
        """Return the phases in order, with their response times in ascending order."""
        for phase in dict.fromkeys(answer.phase for answer in self.all):
            yield phase, sorted((a for a in self.all if a.phase == phase), key=lambda answer: answer.ms)


@contextlib.asynccontextmanager
async def asking(url: str) -> AsyncIterator[Answers]:
    """Call the API while the context is open. Raises AnswerError at its end if a call failed."""
    answers = Answers()
    ending = asyncio.Event()
    task = asyncio.create_task(_ask(url, answers, ending))
    try:
        yield answers
    finally:
        ending.set()
        await task


async def _ask(url: str, answers: Answers, ending: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session:
        place = 0
        while not ending.is_set() or place % len(QUESTIONS):
            target, body = QUESTIONS[place % len(QUESTIONS)]
            phase, begin_s = answers.phase, time.monotonic()
            async with session.post(url, json=body, headers={"x-sora-target": target}) as answer:
                text = await answer.read()
                if answer.status != OK:
                    raise AnswerError(f"{target} in {phase}: {answer.status} {text.decode(errors='replace')}")
            answers.all.append(Answer(phase, target.partition(".")[2], (time.monotonic() - begin_s) * 1000))
            place += 1
            await asyncio.sleep(PAUSE_S)
