"""RTP time in nanoseconds, at the rate at which the sender really counts.

A codec's clock rate is the number of ticks a second. A sender may count at another rate (audio captured at 44.1 kHz
and stamped as 48 kHz). Times after the moment at which the rate was measured are scaled, those before it are not, so
that nothing jumps.
"""

from typing import Final

from rokuga.recorder.media import NS_PER_S

SCALE_BITS: Final = 20
UNSCALED: Final = 1 << SCALE_BITS
MIN_SCALE: Final = UNSCALED // 16
MAX_SCALE: Final = UNSCALED * 16
PPM: Final = 1_000_000
NOMINAL_PPM: Final = 1500
"""A measured rate this near to the codec's is taken for it: the correction of the offset follows the rest."""


class MediaClock:
    """The clock of one kind: unwrapped RTP times to ns. `rate_hz` is the codec's clock rate."""

    __slots__ = ("_origin_ns", "_scaled_origin_ns", "cycle_ns", "rate_hz", "scale")

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.cycle_ns = (1 << 32) * NS_PER_S // rate_hz
        """The time after which RTP time on the wire (32 bits, RFC 3550 section 5.1) repeats."""
        self.restart()

    def restart(self) -> None:
        """Reset to the codec's rate, for a new source."""
        self.scale = UNSCALED
        self._origin_ns = self._scaled_origin_ns = 0

    def media_ns(self, rtp_time: int) -> int:
        """Return an RTP time in ns, rounded down. Products stay within 62 bits, since larger ints are slow."""
        rate_hz = self.rate_hz
        media_ns = rtp_time // rate_hz * NS_PER_S + rtp_time % rate_hz * NS_PER_S // rate_hz
        return media_ns if self.scale == UNSCALED and self._origin_ns == 0 else self._scaled(media_ns)

    def follow(self, rtp_time: int, slope_ppm: int) -> None:
        """Change the rate from this RTP time on; `slope_ppm` is the growth of the lag in us a second.

        A lag that grows by 10,000 us a second shows media time that is 1 % slow.
        """
        at_ns = self.media_ns(rtp_time)
        rate_hz, scale = self.rate_hz, self.scale
        self._origin_ns = rtp_time // rate_hz * NS_PER_S + rtp_time % rate_hz * NS_PER_S // rate_hz
        self._scaled_origin_ns = at_ns
        scale = scale * PPM // max(PPM - slope_ppm, PPM // 16)
        if abs(scale - UNSCALED) * PPM < NOMINAL_PPM * UNSCALED:
            scale = UNSCALED
        self.scale = min(max(scale, MIN_SCALE), MAX_SCALE)

    def _scaled(self, media_ns: int) -> int:
        """Scale the time since the origin, in steps of 1 us: within 62 bits for weeks."""
        passed_ns = media_ns - self._origin_ns
        if self.scale == UNSCALED:
            return self._scaled_origin_ns + passed_ns
        return self._scaled_origin_ns + ((passed_ns >> 10) * self.scale >> (SCALE_BITS - 10))
