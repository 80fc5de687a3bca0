"""Renewed certificates are reloaded, and expiring ones logged."""

import contextlib
import shutil
import ssl
from pathlib import Path

import pytest
import structlog

from rokuga.api.http.certificates import DAY_S, CertificateFiles, Validity, read_validity
from tests.webhooks.certificates import Authority


@pytest.mark.parametrize(
    ("days", "left_s", "expected"),
    [
        (90, 15 * DAY_S, None),
        (90, 13 * DAY_S, "expires in 13 days"),
        (90, DAY_S, "expires in 24 hours"),
        (90, 0, "has expired"),
        (6, 3 * DAY_S, None),
        (6, DAY_S, "expires in 24 hours"),
    ],
)
def test_expiring_certificates_are_reported_in_time(days: int, left_s: int, expected: str | None) -> None:
    assert Validity(0, days * DAY_S).warning(days * DAY_S - left_s) == expected


def served(context: ssl.SSLContext, authority: Authority) -> int:
    """Complete a TLS handshake in memory; return the serial number of the server's certificate."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=authority.ca_file).wrap_bio(back, there, server_hostname="localhost")
    server = context.wrap_bio(there, back, server_side=True)
    for end in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    shown = client.getpeercert()
    assert shown is not None
    return int(str(shown["serialNumber"]), 16)


def test_a_renewed_certificate_is_reloaded(tmp_path: Path) -> None:
    """With half a renewed pair, or an invalid file, the old certificate stays in use."""
    authority = Authority(tmp_path)
    files = CertificateFiles(*authority.issue("localhost"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    files.contexts.append(context)
    now_s = read_validity(files.certificate).begin_s
    old = served(context, authority)
    certificate, key = authority.issue("renewed")
    with structlog.testing.capture_logs() as logs:
        shutil.copy(certificate, files.certificate)
        files.check(now_s)
        files.check(now_s)
        assert served(context, authority) == old
        files.key.unlink()
        files.check(now_s)
        assert served(context, authority) == old
        key.rename(files.key)
        files.check(now_s)
        assert served(context, authority) != old
    assert [entry["event"] for entry in logs] == [
        "renewed certificate unusable",
        "certificate reloaded",
    ]


def test_an_expiring_certificate_is_logged_once_a_day(tmp_path: Path) -> None:
    files = CertificateFiles(*Authority(tmp_path).issue("localhost"))
    end_s = read_validity(files.certificate).end_s
    with structlog.testing.capture_logs() as logs:
        for now_s in (end_s - 60, end_s - 50, end_s + DAY_S, end_s + DAY_S):
            files.check(now_s)
    assert [entry["event"] for entry in logs] == ["certificate expires in 0 hours", "certificate has expired"]


def test_a_renewed_client_certificate_is_logged_as_needing_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = CertificateFiles(*authority.issue("localhost"))
    authority.issue("localhost")
    with structlog.testing.capture_logs() as logs:
        files.check(read_validity(files.certificate).begin_s)
    assert [entry["event"] for entry in logs] == ["certificate renewed, restart to use it"]
