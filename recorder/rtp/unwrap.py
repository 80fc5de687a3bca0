"""Unwrap counters of the wire to ints (RFC 3550 appendix A.1)."""


def difference(value: int, place: int, modulus: int) -> int:
    """Return the shorter distance from `place` to `value` on a counter that wraps, negative if backwards."""
    half = modulus >> 1
    return (value - place + half) % modulus - half


def nearest(value: int, place: int, modulus: int) -> int:
    """Return the int nearest to `place` that is `value` on the wire; it is never negative."""
    near = place + difference(value, place, modulus)
    return near if near >= 0 else near + modulus


class Unwrapper:
    """Unwraps one counter of `bits` bits: each value is the nearest one to the last.

    Values start in the second cycle, so that one a little older than the first is not negative.
    """

    __slots__ = ("_last", "_modulus", "_value")

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._last: int | None = None
        self._value: int | None = None  # the last one, as on the wire

    def peek(self, value: int) -> int:
        """Unwrap a value without moving to it, unless it is the first one."""
        if self._last is None:
            self._last = self._modulus + value
        return nearest(value, self._last, self._modulus)

    def unwrap(self, value: int) -> int:
        """Unwrap a value and move to it. A repeated one, as within a picture, returns early."""
        if value == self._value and self._last is not None:
            return self._last
        self._value = value
        self._last = unwrapped = self.peek(value)
        return unwrapped
