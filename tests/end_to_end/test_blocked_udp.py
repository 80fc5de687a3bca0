"""Clients whose UDP is blocked publish over TCP, and what they sent is stored."""

from pathlib import Path

import pytest

from tests import readers
from tests.end_to_end.clients import publish_with_browser, publish_with_sdk
from tests.end_to_end.daemon import Consumer, Daemon, consuming, running
from tests.end_to_end.test_foreign_clients import are_all, encoded, record, spoken, stored_file
from tests.recorder.webrtc.namespaces import networked

pytestmark = pytest.mark.end_to_end

NO_UDP = "--webrtc-ip-handling-policy=disable_non_proxied_udp"


async def test_chromium_without_udp_publishes_over_tcp(daemon: Daemon, consumer: Consumer) -> None:
    await record(daemon)
    sent = await publish_with_browser(daemon, "sora", [{"wait": 2000}], NO_UDP, codec="VP9")
    assert sent["protocol"] == "tcp"
    frames = readers.decode_strictly(await stored_file(daemon, consumer))
    assert are_all(frames["video"], encoded(sent["statistics"]))
    assert not daemon.faults()


async def test_the_python_sdk_publishes_where_a_firewall_drops_all_udp(tmp_path: Path) -> None:
    """Daemon, consumer and client are in a network namespace that drops all datagrams."""
    with networked("machine", "other") as network:
        network.link(("machine", "eth0"), ("other", "eth0"), ("10.9.1.1/24", "10.9.1.2/24"))
        network.run(
            "machine", "ip", "route", "add", "default", "via", "10.9.1.2"
        )  # the SDK looks for a default route
        network.run("machine", "iptables", "-A", "OUTPUT", "-p", "udp", "-j", "DROP")
        with network.on("machine"):
            async with consuming() as consumer, running(tmp_path, consumer.url, media_address="10.9.1.1") as daemon:
                await record(daemon)
                sent = await publish_with_sdk(daemon, "sora", 2)
                assert sent["connected"]
                frames = readers.decode_strictly(await stored_file(daemon, consumer))
                assert are_all(frames["video"], encoded(sent["statistics"]))
                assert are_all(frames["audio"], spoken(sent["statistics"]))
                assert not daemon.faults()
