"""The private names of aiortc, certificates, and the adapter of its ICE transport."""

import aiortc
import pytest
from aiortc import RTCDtlsTransport

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.dtls.transport import (
    MAX_QUEUED_DATAGRAMS,
    AiortcError,
    Certificate,
    Certificates,
    IceTransportAdapter,
    check_aiortc,
)

DAY_NS = 24 * 3600 * NS_PER_S


def test_the_installed_aiortc_has_every_private_name_that_is_used() -> None:
    check_aiortc()


def test_a_missing_private_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(RTCDtlsTransport, "_recv_next")
    with pytest.raises(AiortcError, match=r"RTCDtlsTransport\._recv_next"):
        check_aiortc()


def test_an_older_aiortc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc, "__version__", "1.9.3")
    with pytest.raises(AiortcError, match=r"aiortc 1\.9\.3,.* needs aiortc 1\.15 or later$"):
        check_aiortc()


@pytest.mark.parametrize("version", ["1.15.0", "1.16.1", "1.17.0rc1", "2.0.0"])
def test_a_release_that_has_all_names_is_accepted(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiortc, "__version__", version)
    check_aiortc()


def test_a_certificate_has_its_sha_256_fingerprint() -> None:
    assert len(Certificate.make().fingerprint.split(":")) == 32


def test_a_certificate_is_used_until_ten_days_before_it_expires() -> None:
    certificates = Certificates()
    now_ns = Clock().wall_ns()
    first = certificates.current(now_ns)
    assert certificates.current(now_ns + 19 * DAY_NS) is first
    assert certificates.current(now_ns + 21 * DAY_NS) is not first


async def test_the_adapter_keeps_a_bounded_number_of_datagrams() -> None:
    adapter = IceTransportAdapter(lambda data: None)
    for number in range(2 * MAX_QUEUED_DATAGRAMS):
        adapter.put(number.to_bytes(2, "big"))
    kept = [await adapter._recv() for _ in range(MAX_QUEUED_DATAGRAMS)]
    assert kept[-1] == (MAX_QUEUED_DATAGRAMS - 1).to_bytes(2, "big")
