"""All attacks on the signalling port together, at full speed, from addresses that are not loopback."""

from pathlib import Path

import pytest

from tests.end_to_end.attack_scenario import attack

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone]


@pytest.mark.parametrize(
    ("publishers", "seconds"),
    [(5, 8.0), pytest.param(20, 60.0, marks=pytest.mark.soak)],
)
async def test_attacks_cost_no_recorded_media_and_other_clients_can_join(
    tmp_path: Path, publishers: int, seconds: float
) -> None:
    """Large session descriptions, silent sockets and floods of pings, while publishers are recorded."""
    result = await attack(tmp_path, publishers, seconds)
    assert len(result.publishers) == publishers
    assert not result.missing
    assert float("inf") not in result.joining_times_s
    assert result.joining_times_s
    assert not result.faults
