"""The names that we borrow from aiortc, and the pipe between its task and the port."""

import aiortc
import pytest
from aiortc import RTCDtlsTransport

from rokuga.recorder.webrtc.dtls import MAX_QUEUED_DATAGRAMS, AiortcError, Certificate, DatagramPipe, check_aiortc


def test_the_installed_aiortc_is_the_one_that_we_were_written_for() -> None:
    check_aiortc()


def test_a_private_name_that_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(RTCDtlsTransport, "_recv_next")
    with pytest.raises(AiortcError, match=r"RTCDtlsTransport\._recv_next"):
        check_aiortc()


def test_another_series_of_aiortc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc, "__version__", "1.17.0")
    with pytest.raises(AiortcError, match=r"aiortc 1\.17\.0 .* written for aiortc 1\.16"):
        check_aiortc()


def test_the_certificate_tells_its_sha_256() -> None:
    assert len(Certificate.make().fingerprint.split(":")) == 32


async def test_the_pipe_keeps_a_bounded_number_of_datagrams() -> None:
    pipe = DatagramPipe(lambda data: None)
    for number in range(2 * MAX_QUEUED_DATAGRAMS):
        pipe.put(number.to_bytes(2, "big"))
    taken = [await pipe._recv() for _ in range(MAX_QUEUED_DATAGRAMS)]
    assert taken[-1] == (MAX_QUEUED_DATAGRAMS - 1).to_bytes(2, "big")
