"""The sockets of the media port, and the warning of a small buffer."""

import pytest
from structlog.testing import capture_logs

from rokuga.recorder.webrtc.transport import local_sockets
from rokuga.recorder.webrtc.transport.local_sockets import bind_all


@pytest.mark.parametrize(("enough_bytes", "warnings"), [(1 << 31, 1), (4096, 0)])
def test_a_small_receive_buffer_is_logged_with_the_name_of_its_sysctl(
    monkeypatch: pytest.MonkeyPatch, enough_bytes: int, warnings: int
) -> None:
    """No kernel allows two gigabytes; one warning is enough for all addresses."""
    monkeypatch.setattr(local_sockets, "ENOUGH_BYTES", enough_bytes)
    with capture_logs() as logs:
        for bound in bind_all(("127.0.0.1", "127.0.0.2"), 0).udp:
            bound.close()
    assert len(logs) == warnings
    for entry in logs:
        assert entry["log_level"] == "warning"
        assert entry["remedy"] == f"sysctl -w net.core.rmem_max={enough_bytes}"
        assert entry["size_bytes"] < entry["enough_bytes"] == enough_bytes
