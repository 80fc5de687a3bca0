"""The certificates that we show, as their files are renewed on the disk, and their expiry in the log."""

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

LOOK_S: Final = 10.0
"""The files are looked at this often, by stat(2)."""
DAY_S: Final = 24 * 3600
WARN_S: Final = 14 * DAY_S
"""From so long before a certificate expires there is a warning a day; of short-lived ones in their last third."""


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, seconds since the epoch."""

    begin_s: int
    end_s: int

    def warning(self, now_s: int) -> str | None:
        """Return what an operator has to know of its expiry, None where there is time."""
        if now_s >= self.end_s:
            return "has expired"
        left_s = self.end_s - now_s
        if left_s < min(WARN_S, (self.end_s - self.begin_s) // 3):
            return (
                f"expires in {left_s // DAY_S} days" if left_s >= 2 * DAY_S else f"expires in {left_s // 3600} hours"
            )
        return None


def read_validity(certificate: Path) -> Validity:
    """Read a PEM file, of a chain the first certificate. Raises OSError, ValueError."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return Validity(int(found.not_valid_before_utc.timestamp()), int(found.not_valid_after_utc.timestamp()))


@dataclass(slots=True)
class CertificateFiles:
    """A certificate with its key, and the contexts that show it.

    Without a context, of those who read it at their start, a change is logged with what has to be done.
    """

    certificate: Path
    key: Path
    contexts: list[ssl.SSLContext] = field(default_factory=list)
    _seen: object = None
    _failed: object = None
    _warned_day: int | None = None

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError):  # who needs the file says so
            self._seen = self._state()

    def _state(self) -> object:
        """Return what changes when a file is written, or another takes its place. A link is followed."""
        states = []
        for path in (self.certificate, self.key):
            found = os.stat(path)  # noqa: PTH116  # the result is compared, nothing else
            states.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
        return states

    def check(self, now_s: int) -> None:
        """Take a renewed certificate; warn of one that expires. What cannot be used leaves the old one in place."""
        with contextlib.suppress(OSError):  # in the middle of a renewal; the old one is in use
            if (state := self._state()) != self._seen:
                self._renew(state)
        self._warn(now_s)

    def _renew(self, state: object) -> None:
        try:
            # Tried on its own first: half a pair would be left in a context.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            for context in self.contexts:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one
            if self._failed != state:
                log.error("a renewed certificate cannot be used", path=str(self.certificate), reason=str(error))
            self._failed = state
            return
        self._seen, self._failed, self._warned_day = state, None, None
        if self.contexts:
            log.info("a renewed certificate is in use", path=str(self.certificate))
        else:
            log.warning("a certificate was renewed; restart to use it", path=str(self.certificate))

    def _warn(self, now_s: int) -> None:
        if self._warned_day == now_s // DAY_S:
            return
        self._warned_day = now_s // DAY_S
        with contextlib.suppress(OSError, ValueError, x509.InvalidVersion):
            if (warning := read_validity(self.certificate).warning(now_s)) is not None:
                log.warning(f"a certificate {warning}", path=str(self.certificate))


async def reload_certificates(files: Sequence[CertificateFiles], clock: Clock) -> None:
    """Look at all of them from time to time, in the thread that uses the contexts; ends by cancellation."""
    while True:
        for each in files:
            each.check(clock.wall_ns() // NS_PER_S)
        await asyncio.sleep(LOOK_S)


def certificate_files(config: DaemonConfig) -> tuple[CertificateFiles | None, Sequence[CertificateFiles]]:
    """Return the certificate of our servers, if they speak TLS, and all that we show."""
    pairs = (
        (config.tls_certificate, config.tls_key),
        (config.webhooks.client_cert, config.webhooks.client_key),
        (config.cluster.client_cert, config.cluster.client_key),
    )
    server, *clients = [CertificateFiles(found, key) if found and key else None for found, key in pairs]
    return server, [each for each in (server, *clients) if each is not None]
