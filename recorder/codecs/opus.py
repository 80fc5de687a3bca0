"""Opus over RTP (RFC 7587): one packet is one unit, stored as it is."""

from collections.abc import Mapping
from typing import Final

from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.parameters import Fmtp, Params, flag, whole_number
from rokuga.recorder.media import AccessUnit, RtpPacket

CLOCK_RATE_HZ: Final = 48_000

_US_PER_FRAME: Final = (
    *(10_000, 20_000, 40_000, 60_000) * 3,  # SILK: narrow, medium, wide band
    *(10_000, 20_000) * 2,  # hybrid: super-wide band, full band
    *(2_500, 5_000, 10_000, 20_000) * 4,  # CELT: narrow, wide, super-wide, full band
)
_MAX_US: Final = 120_000

BIT_RATES_KBPS: Final[range] = range(6, 511)
"""RFC 6716 section 2.1.1."""

_NUMBERS: Final = {"maxplaybackrate": 48_000, "minptime": 120, "ptime": 120}
_FLAGS: Final = {
    "stereo": "stereo",
    "sprop_stereo": "sprop-stereo",
    "useinbandfec": "useinbandfec",
    "usedtx": "usedtx",
}
PARAMS: Final[Mapping[str, type]] = {"channels": int, **dict.fromkeys(_NUMBERS, int), **dict.fromkeys(_FLAGS, bool)}
"""The client's parameters. All may be absent or null."""


def depacketizer(_fmtp: Fmtp) -> "OpusDepacketizer":
    """Return a new Depacketizer."""
    return OpusDepacketizer()


def format_parameters(params: Params) -> Fmtp:
    """Return the fmtp of an offer (RFC 7587 section 6.1). Raises ParametersError.

    `channels` changes nothing: an rtpmap always has 2, and `stereo` asks for them.
    """
    fmtp = {"minptime": "10", "useinbandfec": "1"}
    if params.get("channels") is not None:
        whole_number(params, "channels", 2, 2)
    for key, most in _NUMBERS.items():
        if params.get(key) is not None:
            fmtp[key] = whole_number(params, key, 0, most)
    for key, name in _FLAGS.items():
        if params.get(key) is not None:
            fmtp[name] = flag(params, key)
    return fmtp


def packet_duration_ns(data: bytes) -> int:
    """Return the duration of an Opus packet by its first bytes (RFC 6716 section 3.1, table 2).

    Raises PayloadError for an invalid packet: empty, without a frame, or longer than 120 ms (rules R1, R5).
    """
    if not data:
        raise PayloadError("an empty Opus packet")
    code = data[0] & 3
    if code == 3:
        if len(data) < 2:
            raise PayloadError("an Opus packet without its count of frames")
        count = data[1] & 0x3F
    else:
        count = 2 if code else 1
    duration_us = count * _US_PER_FRAME[data[0] >> 3]
    if not 0 < duration_us <= _MAX_US:
        raise PayloadError(f"an Opus packet of {count} frames")
    return duration_us * 1000


def opus_head(channels: int = 2) -> bytes:
    """Return the identification header, OpusHead (RFC 7845 section 5.1).

    Pre-skip is 0: a stream that is joined midway has no encoder delay to skip.
    """
    return b"OpusHead" + bytes((1, channels, 0, 0)) + CLOCK_RATE_HZ.to_bytes(4, "little") + bytes(3)


class OpusDepacketizer:
    """The Depacketizer of Opus. DTX packets of 1 or 2 bytes are units; an empty payload is ignored."""

    __slots__ = ("dropped_units",)

    def __init__(self) -> None:
        self.dropped_units = 0

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Return the packet's unit. Raises PayloadError for an invalid packet."""
        data = packet.payload
        if not data:
            return None
        if data[0] & 3 == 3:
            try:
                packet_duration_ns(data)
            except PayloadError:
                self.dropped_units += 1
                raise
        return AccessUnit(packet.timestamp, data, True, packet.arrival_ns)

    @property
    def is_open(self) -> bool:
        """False: no unit is ever incomplete."""
        return False

    @property
    def is_awaited(self) -> bool:
        """False: no unit is ever incomplete."""
        return False

    def lost(self, count: int) -> None:
        """Count each lost packet as a dropped unit."""
        self.dropped_units += count

    def discontinuity(self) -> None:
        """Do nothing: no unit is ever incomplete."""

    def expire(self, now_ns: int) -> AccessUnit | None:
        """Return None: no unit is ever incomplete."""
        return None

    def flush(self) -> AccessUnit | None:
        """Return None: no unit is ever incomplete."""
        return None
