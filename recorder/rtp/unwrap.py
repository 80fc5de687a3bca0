"""Counters that wrap on the wire become ints that only grow by where the stream goes (RFC 3550 appendix A.1)."""


class Unwrapper:
    """Follows one counter of `bits` bits. The nearest value to the last one is taken, before or after it.

    Values start in the second cycle, so that what is a little older than the first one is not negative.
    """

    __slots__ = ("_half", "_last", "_modulus")

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._half = self._modulus >> 1
        self._last: int | None = None

    def peek(self, value: int) -> int:
        """Unwrap a value without following it."""
        last = self._last
        if last is None:
            return self._modulus + value
        difference = (value - last) % self._modulus
        return last + (difference if difference < self._half else difference - self._modulus)

    def unwrap(self, value: int) -> int:
        """Unwrap a value and take it as the stream's place."""
        unwrapped = self.peek(value)
        self._last = unwrapped
        return unwrapped

    def restart(self, value: int) -> None:
        """Begin a new cycle at `value`: the sender started anew, and what follows is later than all before."""
        if self._last is not None:
            self._last = (self._last // self._modulus + 1) * self._modulus + value
