"""The pause between polls of a socket."""

import pytest

from rokuga.recorder.webrtc.transport.udp_port import LEAST_POLL_S, pause_s


@pytest.mark.parametrize(
    ("batch", "count", "elapsed_s", "expected_s"),
    [
        pytest.param(46, 46, 0.010, 0.010, id="as much as leaves room, as before"),
        pytest.param(46, 92, 0.010, 0.005, id="twice as much: twice as often"),
        pytest.param(910, 91, 0.020, 0.200, id="a large buffer has time"),
        pytest.param(46, 250, 0.010, LEAST_POLL_S, id="a small buffer and a flood"),
        pytest.param(46, 1, 0.0, 0.092, id="the first read after quiet"),
    ],
)
def test_a_socket_is_polled_before_its_buffer_is_full(
    batch: int, count: int, elapsed_s: float, expected_s: float
) -> None:
    assert pause_s(batch, count, elapsed_s) == pytest.approx(expected_s)
