"""Counters that wrap on the wire become ints that go where the stream goes (RFC 3550 appendix A.1)."""


def difference(value: int, place: int, modulus: int) -> int:
    """Give the way from `place` to `value` on a counter that wraps: the shorter one, negative if backwards."""
    half = modulus >> 1
    return (value - place + half) % modulus - half


def nearest(value: int, place: int, modulus: int) -> int:
    """Give the int nearest to `place` that is `value` on the wire, before it or after it, and never negative."""
    near = place + difference(value, place, modulus)
    return near if near >= 0 else near + modulus


class Unwrapper:
    """Follows one counter of `bits` bits. The nearest value to the last one is taken.

    Values start in the second cycle, so that what is a little older than the first one is not negative.
    """

    __slots__ = ("_last", "_modulus", "_value")

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._last: int | None = None
        self._value: int | None = None  # the last one, as on the wire

    def peek(self, value: int) -> int:
        """Unwrap a value without following it. The first value of all is a place for the later ones, though."""
        if self._last is None:
            self._last = self._modulus + value
        return nearest(value, self._last, self._modulus)

    def unwrap(self, value: int) -> int:
        """Unwrap a value and take it as the stream's place. The same again, as within a picture, costs nothing."""
        if value == self._value and self._last is not None:
            return self._last
        self._value = value
        self._last = unwrapped = self.peek(value)
        return unwrapped
