"""Certificates of servers and clients: reloads renewed files, and logs when one expires."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from rokuga.api.config.loader import DaemonConfig
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S

log = structlog.get_logger()

CHECK_INTERVAL_S: Final = 10.0
DAY_S: Final = 24 * 3600
WARN_S: Final = 14 * DAY_S
"""A certificate that expires sooner is logged once a day; a short-lived one in its last third."""


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, in Unix seconds."""

    begin_s: int
    end_s: int

    def warning(self, now_s: int) -> str | None:
        """Return a warning about the expiry, None where it is far off."""
        if now_s >= self.end_s:
            return "has expired"
        left_s = self.end_s - now_s
        if left_s < min(WARN_S, (self.end_s - self.begin_s) // 3):
            return (
                f"expires in {left_s // DAY_S} days" if left_s >= 2 * DAY_S else f"expires in {left_s // 3600} hours"
            )
        return None


def read_validity(certificate: Path) -> Validity:
    """Read the first certificate of a PEM file. Raises OSError, ValueError."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return Validity(int(found.not_valid_before_utc.timestamp()), int(found.not_valid_after_utc.timestamp()))


@dataclass(slots=True)
class CertificateFiles:
    """A certificate with its key, and the TLS contexts that use it.

    Without a context the files are read only at the start; a change is logged as one that needs a restart.
    """

    certificate: Path
    key: Path
    contexts: list[ssl.SSLContext] = field(default_factory=list)
    _seen: object = None
    _failed: object = None
    _warned_day: int | None = None

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError):  # the user of the file reports it
            self._seen = self._state()

    def _state(self) -> object:
        """Return a value that changes when a file is written or replaced. Symbolic links are followed."""
        states = []
        for path in (self.certificate, self.key):
            found = os.stat(path)  # noqa: PTH116  # only compared
            states.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
        return states

    def check(self, now_s: int) -> None:
        """Load renewed files, and log an expiry. Unusable files leave the old certificate in use."""
        with contextlib.suppress(OSError):  # a renewal is in progress; the old one stays in use
            if (state := self._state()) != self._seen:
                self._renew(state)
        self._warn(now_s)

    def _renew(self, state: object) -> None:
        try:
            # Tried in a context of its own first, since a failure would leave half a pair in the others.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            for context in self.contexts:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is a subclass
            if self._failed != state:
                log.error(
                    "renewed certificate unusable",
                    path=str(self.certificate),
                    reason=str(error),
                )
            self._failed = state
            return
        self._seen, self._failed, self._warned_day = state, None, None
        if self.contexts:
            log.info("certificate reloaded", path=str(self.certificate))
        else:
            log.warning("certificate renewed, restart to use it", path=str(self.certificate))

    def _warn(self, now_s: int) -> None:
        if self._warned_day == now_s // DAY_S:
            return
        self._warned_day = now_s // DAY_S
        with contextlib.suppress(OSError, ValueError, x509.InvalidVersion):
            if (warning := read_validity(self.certificate).warning(now_s)) is not None:
                log.warning(f"certificate {warning}", path=str(self.certificate))


async def reload_certificates(files: Sequence[CertificateFiles], clock: Clock) -> None:
    """Check all files periodically, in the thread that uses the contexts, until cancelled."""
    while True:
        for each in files:
            each.check(clock.wall_ns() // NS_PER_S)
        await asyncio.sleep(CHECK_INTERVAL_S)


def certificate_files(config: DaemonConfig) -> tuple[CertificateFiles | None, Sequence[CertificateFiles]]:
    """Return the certificate of the servers, None without TLS, and all certificates that are in use."""
    pairs = (
        (config.tls_certificate, config.tls_key),
        (config.webhooks.client_cert, config.webhooks.client_key),
        (config.cluster.client_cert, config.cluster.client_key),
    )
    server, *clients = [CertificateFiles(found, key) if found and key else None for found, key in pairs]
    return server, [each for each in (server, *clients) if each is not None]
