"""SRTP and SRTCP of one peer (RFC 3711, RFC 7714), decrypted in place in the buffer that the socket was read into.

pylibsrtp's own `unprotect` copies into and out of a buffer of 1500 bytes and raises for anything longer; libsrtp
called on our buffer decrypts any datagram and costs less.
"""

from typing import Final

from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi, lib

REPLAY_WINDOW_PACKETS: Final = 2048
"""Two seconds of an 8 Mbit/s stream, longer than a missing packet is waited for.

libsrtp allows up to 32767, but shifts the whole window with each packet.
"""

_unprotect: Final = lib.srtp_unprotect
_unprotect_rtcp: Final = lib.srtp_unprotect_rtcp
_unpack: Final = ffi.unpack


class DatagramBuffer:
    """A reused buffer that sockets are read into and that libsrtp decrypts in place."""

    __slots__ = ("data", "length", "pointer", "view")

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.view = memoryview(self.data)
        self.pointer = ffi.from_buffer("char[]", self.data)
        self.length = ffi.new("int *")


def srtp_session(key_and_salt: bytes, ssrc_type: int, srtp_profile: int) -> Session:
    """Return a session for every SSRC of one direction. `ssrc_type` and `srtp_profile` are constants of `Policy`."""
    policy = Policy(key=key_and_salt, ssrc_type=ssrc_type, srtp_profile=srtp_profile)
    policy.allow_repeat_tx = True
    policy.window_size = REPLAY_WINDOW_PACKETS
    return Session(policy)


class SrtpReceiver:
    """Decrypts what a peer sends, in place in the buffer, and returns a copy, since the buffer is reused at once.

    Returns b"" for what is no packet of this session: forged, damaged, replayed or too short. Never raises.
    """

    __slots__ = ("_context", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session  # its destructor frees the context
        self._context = session._srtp[0]

    def unprotect(self, buffer: DatagramBuffer, size: int) -> bytes:
        """Decrypt an RTP packet of `size` bytes."""
        length = buffer.length
        length[0] = size
        if _unprotect(self._context, buffer.pointer, length):
            return b""
        plain: bytes = _unpack(buffer.pointer, length[0])
        return plain

    def unprotect_rtcp(self, buffer: DatagramBuffer, size: int) -> bytes:
        """Decrypt a compound RTCP packet of `size` bytes."""
        length = buffer.length
        length[0] = size
        if _unprotect_rtcp(self._context, buffer.pointer, length):
            return b""
        plain: bytes = _unpack(buffer.pointer, length[0])
        return plain
