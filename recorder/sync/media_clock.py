"""RTP time in nanoseconds, at the rate at which it really runs.

A codec's clock rate says how many ticks a second has. A sender may count at another rate for good (sound captured at
44.1 kHz and stamped as 48 kHz). The measured rate is followed from the moment on at which it is known: times before
it stay as they are, those after it are scaled, so nothing jumps.
"""

from typing import Final

from rokuga.recorder.media import NS_PER_S

SCALE_BITS: Final = 20
UNSCALED: Final = 1 << SCALE_BITS
MIN_SCALE: Final = UNSCALED // 16
MAX_SCALE: Final = UNSCALED * 16
PPM: Final = 1_000_000
AS_TOLD_PPM: Final = 1500
"""A rate this near to the one that the codec names is that one: the correction of the offset follows the rest."""


class MediaClock:
    """The clock of one kind: unwrapped RTP times to ns. `rate_hz` is the codec's clock rate."""

    __slots__ = ("_origin_ns", "_scaled_origin_ns", "cycle_ns", "rate_hz", "scale")

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.cycle_ns = (1 << 32) * NS_PER_S // rate_hz
        """After so long RTP time on the wire (32 bits, RFC 3550 section 5.1) is the same again."""
        self.restart()

    def restart(self) -> None:
        """Forget the measured rate, for a new source."""
        self.scale = UNSCALED
        self._origin_ns = self._scaled_origin_ns = 0

    def media_ns(self, rtp_time: int) -> int:
        """Return an RTP time in ns, rounded down, by products within 62 bits: larger ints cost ten times more."""
        rate_hz = self.rate_hz
        media_ns = rtp_time // rate_hz * NS_PER_S + rtp_time % rate_hz * NS_PER_S // rate_hz
        return media_ns if self.scale == UNSCALED and self._origin_ns == 0 else self._scaled(media_ns)

    def follow(self, rtp_time: int, slope_ppm: int) -> None:
        """Change the rate from this RTP time on; `slope_ppm` is by how much lateness grows in a second, in us.

        Lateness that grows by 10,000 us a second is media time that runs 1 % slow.
        """
        at_ns = self.media_ns(rtp_time)
        rate_hz, scale = self.rate_hz, self.scale
        self._origin_ns = rtp_time // rate_hz * NS_PER_S + rtp_time % rate_hz * NS_PER_S // rate_hz
        self._scaled_origin_ns = at_ns
        scale = scale * PPM // max(PPM - slope_ppm, PPM // 16)
        if abs(scale - UNSCALED) * PPM < AS_TOLD_PPM * UNSCALED:
            scale = UNSCALED
        self.scale = min(max(scale, MIN_SCALE), MAX_SCALE)

    def _scaled(self, media_ns: int) -> int:
        """Scale what has passed since the origin, in steps of 1 us: within 62 bits for weeks."""
        passed_ns = media_ns - self._origin_ns
        if self.scale == UNSCALED:
            return self._scaled_origin_ns + passed_ns
        return self._scaled_origin_ns + ((passed_ns >> 10) * self.scale >> (SCALE_BITS - 10))
