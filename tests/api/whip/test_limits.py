"""How often, and how many: publishers by WHIP have the limits that connections have."""

import pytest

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.whip.limits import PublishLimits
from rokuga.api.whip.problem import Problem
from rokuga.recorder.media import NS_PER_S
from tests.api.whip.front import house


def status_of(limits: PublishLimits, address: str, connected: int = 0) -> int:
    try:
        limits.check(address, connected)
    except Problem as problem:
        return int(problem.status) if problem.headers["Retry-After"] else 0
    return 200


def test_an_address_may_publish_so_often_in_a_second() -> None:
    now_ns = 0
    limits = PublishLimits(lambda: now_ns, 2, 100)
    assert [status_of(limits, "192.0.2.1") for _ in range(4)] == [200, 200, 429, 429]
    assert status_of(limits, "192.0.2.2") == 200, "another address"
    now_ns = NS_PER_S
    assert status_of(limits, "192.0.2.1") == 200, "another second"


def test_the_addresses_of_one_host_count_as_one_and_loopback_is_not_counted() -> None:
    """A host has a /64 of IPv6 to itself; behind loopback there may be a proxy with any number of clients."""
    limits = PublishLimits(lambda: 0, 1, 100)
    assert [status_of(limits, f"2001:db8::{n}") for n in range(3)] == [200, 429, 429]
    assert status_of(limits, "2001:db8:0:1::1") == 200
    for address in ("127.0.0.1", "127.0.0.1", "::1", "::1", "::ffff:127.0.0.1", "", ""):
        assert status_of(limits, address) == 200


def test_so_many_may_be_connected_at_a_time() -> None:
    limits = PublishLimits(lambda: 0, 100, 2)
    assert [status_of(limits, "", connected) for connected in (0, 1, 2)] == [200, 200, 503]


async def test_one_publisher_more_than_may_be_connected_is_told_when_to_come_again() -> None:
    async with house(DaemonConfig(max_connections=2)) as front:
        assert [(await front.publish()).status for _ in range(2)] == [201, 201]
        refused = await front.publish()
        assert (refused.status, refused.problem["detail"]) == (503, "TOO-MANY-SESSIONS: 2 are connected")
        assert refused.headers["retry-after"]


async def test_a_session_that_is_not_connected_takes_no_ones_place() -> None:
    """Their number has a limit of its own, where the oldest goes."""
    async with house(DaemonConfig(max_connections=2)) as front:
        front.recorder.answer_connects = False
        assert [(await front.publish()).status for _ in range(5)] == [201] * 5


async def test_the_recorder_learns_from_where_a_publisher_comes() -> None:
    async with house() as front:
        await front.publish()
        assert [request.client_address for request in front.recorder.requests] == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["", "unix", "256.0.0.1", "::g", "192.0.2.1%x", "fe80::1%eth0"])
def test_any_text_is_an_address(address: str) -> None:
    assert status_of(PublishLimits(lambda: 0, 1, 1), address) == 200
