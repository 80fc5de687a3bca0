"""All attacks on the signalling port together, at full speed, from addresses that are not loopback."""

from pathlib import Path

import pytest

from tests.end_to_end.attacked import attack

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone]


@pytest.mark.parametrize(
    ("publishers", "seconds"),
    [(5, 8.0), pytest.param(20, 60.0, marks=pytest.mark.soak)],
)
async def test_who_is_recorded_loses_nothing_and_newcomers_get_in(
    tmp_path: Path, publishers: int, seconds: float
) -> None:
    """Large session descriptions, silent sockets and floods of pings, beside publishers that are recorded."""
    outcome = await attack(tmp_path, publishers, seconds)
    assert len(outcome.publishers) == publishers
    assert not outcome.missing
    assert float("inf") not in outcome.newcomers_s
    assert outcome.newcomers_s
    assert not outcome.faults
