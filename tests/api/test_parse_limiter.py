"""Large texts are parsed one at a time."""

import asyncio

import pytest

from rokuga.api.parse_limiter import LARGE, ParseLimiter


async def test_large_texts_are_parsed_one_at_a_time_and_small_ones_at_once() -> None:
    messages = ParseLimiter()
    order: list[str] = []

    async def read(name: str, size: int) -> None:
        async with messages.slot("x" * size):
            order.append(name)

    async with messages.slot("x" * LARGE):
        waiting = [asyncio.create_task(read(name, LARGE)) for name in ("first", "second")]
        await read("small", LARGE - 1)
        assert order == ["small"]
    await asyncio.gather(*waiting)
    assert order == ["small", "first", "second"]


async def test_an_exception_in_a_slot_releases_it() -> None:
    messages = ParseLimiter()
    for _ in range(2):
        with pytest.raises(ValueError, match="odd"):
            async with messages.slot("x" * LARGE):
                raise ValueError("odd")
