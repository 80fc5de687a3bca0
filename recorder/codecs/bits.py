"""Read the bits of a bitstream header, most significant first."""

from rokuga.recorder.codecs.depacketizer import PayloadError


class BitReader:
    """Reads a header; raises PayloadError at its end."""

    __slots__ = ("_left", "_length", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._length = self._left = 8 * len(data)

    @property
    def position(self) -> int:
        """Bits read so far."""
        return self._length - self._left

    def read(self, count: int) -> int:
        """Read `count` bits as an unsigned number."""
        self._left -= count
        if self._left < 0:
            raise PayloadError("a bitstream header that is cut short")
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned_golomb(self) -> int:
        """Read ue(v) of ITU-T H.264 section 9.1, which is also uvlc() of AV1; at most 32 bits of value."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise PayloadError("an exp-Golomb code of more than 32 bits")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed_golomb(self) -> int:
        """Read se(v) of ITU-T H.264 section 9.1.1."""
        code = self.unsigned_golomb()
        return (code + 1) // 2 if code & 1 else -(code // 2)
