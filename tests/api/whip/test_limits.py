"""Limits on WHIP publishers: per second and in total."""

import pytest

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.whip.limits import PublishLimits
from rokuga.api.whip.problem import Problem
from rokuga.recorder.media import NS_PER_S
from tests.api.whip.whip_server import serving_whip


def status_of(limits: PublishLimits, address: str, connected: int = 0) -> int:
    try:
        limits.check(address, connected)
    except Problem as problem:
        return int(problem.status) if problem.headers["Retry-After"] else 0
    return 200


def test_an_address_has_a_limit_of_publishes_per_second() -> None:
    now_ns = 0
    limits = PublishLimits(lambda: now_ns, 2, 100)
    assert [status_of(limits, "192.0.2.1") for _ in range(4)] == [200, 200, 429, 429]
    assert status_of(limits, "192.0.2.2") == 200, "another address"
    now_ns = NS_PER_S
    assert status_of(limits, "192.0.2.1") == 200, "another second"


def test_the_addresses_of_one_host_count_as_one_and_loopback_is_not_counted() -> None:
    """A host has a /64 of IPv6; a proxy with any number of clients may connect from loopback."""
    limits = PublishLimits(lambda: 0, 1, 100)
    assert [status_of(limits, f"2001:db8::{n}") for n in range(3)] == [200, 429, 429]
    assert status_of(limits, "2001:db8:0:1::1") == 200
    for address in ("127.0.0.1", "127.0.0.1", "::1", "::1", "::ffff:127.0.0.1", "", ""):
        assert status_of(limits, address) == 200


def test_the_number_of_connected_publishers_is_limited() -> None:
    limits = PublishLimits(lambda: 0, 100, 2)
    assert [status_of(limits, "", connected) for connected in (0, 1, 2)] == [200, 200, 503]


async def test_a_publisher_above_the_limit_gets_retry_after() -> None:
    async with serving_whip(DaemonConfig(max_connections=2)) as server:
        assert [(await server.publish()).status for _ in range(2)] == [201, 201]
        refused = await server.publish()
        assert (refused.status, refused.problem["detail"]) == (503, "TOO-MANY-SESSIONS: 2 are connected")
        assert refused.headers["retry-after"]


async def test_a_session_that_is_not_connected_does_not_count() -> None:
    """Their number has a limit of its own, by which the oldest is ended."""
    async with serving_whip(DaemonConfig(max_connections=2)) as server:
        server.recorder.answer_connects = False
        assert [(await server.publish()).status for _ in range(5)] == [201] * 5


async def test_the_recorder_receives_a_publisher_s_address() -> None:
    async with serving_whip() as server:
        await server.publish()
        assert [request.client_address for request in server.recorder.requests] == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["", "unix", "256.0.0.1", "::g", "192.0.2.1%x", "fe80::1%eth0"])
def test_any_text_is_an_address(address: str) -> None:
    assert status_of(PublishLimits(lambda: 0, 1, 1), address) == 200
