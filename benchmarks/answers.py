"""How soon the API answers while much goes on: it is asked twenty times a second, another question each time."""

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
"""The last two begin and end a recording of a channel in which nobody is: store and disk are asked, too."""


class AnswerError(RuntimeError):
    """The API did not do what it was asked to."""


class Answer(NamedTuple):
    """One answer: in which phase, to what, and how long it took."""

    phase: str
    target: str
    ms: float


@dataclass
class Answers:
    """All answers, and the phase that what is asked now belongs to."""

    phase: str = ""
    all: list[Answer] = field(default_factory=list)

    def phases(self) -> Iterator[tuple[str, Sequence[Answer]]]:
        """Give the phases in their order, with their answers from the quickest to the slowest."""
        for phase in dict.fromkeys(answer.phase for answer in self.all):
            yield phase, sorted((a for a in self.all if a.phase == phase), key=lambda answer: answer.ms)


@contextlib.asynccontextmanager
async def asking(url: str) -> AsyncIterator[Answers]:
    """Ask while the context is open. Raises AnswerError at its end where an answer was no success."""
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
                said = await answer.read()
                if answer.status != OK:
                    raise AnswerError(f"{target} in {phase}: {answer.status} {said.decode(errors='replace')}")
            answers.all.append(Answer(phase, target.partition(".")[2], (time.monotonic() - begin_s) * 1000))
            place += 1
            await asyncio.sleep(PAUSE_S)
