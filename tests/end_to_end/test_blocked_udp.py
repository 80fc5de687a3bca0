"""Clients whose UDP is blocked publish over TCP, and what they sent is in the file."""

import pytest

from tests import readers
from tests.end_to_end.clients import publish_with_browser
from tests.end_to_end.daemon import Consumer, Daemon
from tests.end_to_end.test_foreign_clients import are_all, encoded, record, stored_file

pytestmark = pytest.mark.end_to_end

NO_UDP = "--webrtc-ip-handling-policy=disable_non_proxied_udp"


async def test_chromium_without_udp_publishes_over_tcp(daemon: Daemon, consumer: Consumer) -> None:
    await record(daemon)
    sent = await publish_with_browser(daemon, "sora", [{"wait": 2000}], NO_UDP, codec="VP9")
    assert sent["protocol"] == "tcp"
    frames = readers.decode_strictly(await stored_file(daemon, consumer))
    assert are_all(frames["video"], encoded(sent["statistics"]))
    assert not daemon.faults()
