"""Writes bitstream headers bit by bit, for those that no encoder here makes."""


class BitWriter:
    """Bits, most significant first."""

    def __init__(self) -> None:
        self.bits = ""

    def put(self, value: int, count: int = 1) -> "BitWriter":
        """Add a number of `count` bits."""
        assert 0 <= value < 1 << count or not count
        self.bits += f"{value:0{count}b}" if count else ""
        return self

    def ue(self, value: int) -> "BitWriter":
        """Add an unsigned exp-Golomb code."""
        code = f"{value + 1:b}"
        self.bits += "0" * (len(code) - 1) + code
        return self

    def se(self, value: int) -> "BitWriter":
        """Add a signed exp-Golomb code."""
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def done(self, *, stop_bit: bool = True) -> bytes:
        """Return the bytes, filled up with zeros after a stop bit."""
        bits = self.bits + ("1" if stop_bit else "")
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")
