"""ICE-lite: answers to a peer's connectivity checks, and the state that they change. Pure.

RFC 8445 (ICE; lite in sections 2.5 and 7.3), RFC 8489 (STUN; short-term credentials in 9.1), RFC 7675 (consent).
A lite agent has host candidates only, sends no checks and is always controlled. Requests are not parsed by aioice's
`parse_message`, because that hides unknown attributes (a 420 response has to name them) and verifies the fingerprint
before the username, which is cheaper to compare and says whether the request is for one of our peers at all.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from aioice.stun import COOKIE, Class, Method, message_fingerprint, pack_xor_address

_HEADER: Final = Struct("!HHI12s")
_ATTRIBUTE: Final = Struct("!HH")
_ERROR_CODE: Final = Struct("!HBB")

MAGIC_COOKIE: Final = COOKIE.to_bytes(4, "big")
"""Bytes 4 to 7 of every STUN message (RFC 8489 section 5)."""

USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
UNKNOWN_ATTRIBUTES: Final = 0x000A
XOR_MAPPED_ADDRESS: Final = 0x0020
PRIORITY: Final = 0x0024
USE_CANDIDATE: Final = 0x0025
FINGERPRINT: Final = 0x8028
ICE_CONTROLLED: Final = 0x8029

_read_attribute: Final = _ATTRIBUTE.unpack_from

_UNDERSTOOD: Final = frozenset({USERNAME, MESSAGE_INTEGRITY, PRIORITY, USE_CANDIDATE})
_USED: Final = frozenset({USERNAME, USE_CANDIDATE, ICE_CONTROLLED})
_COMPREHENSION_OPTIONAL: Final = 0x8000
_MAX_ATTRIBUTES: Final = 32
_INTEGRITY_BYTES: Final = 24
_FINGERPRINT_BYTES: Final = 8
_INTEGRITY_HEADER: Final = b"\x00\x08\x00\x14"
_SHA1_BLOCK_BYTES: Final = 64
_AFTER_AUTHENTICATION: Final = (420, 487)

_REASONS: Final[Mapping[int, str]] = {
    400: "Bad Request",
    401: "Unauthenticated",
    420: "Unknown Attribute",
    487: "Role Conflict",
}


class StunError(ValueError):
    """The bytes are not a binding request."""


Address = tuple[str, int] | tuple[str, int, int, int]
"""A peer's address as the socket gave it: host, port, ..."""


class TransportPath(NamedTuple):
    """The pair of a local socket, by its index, and a remote address."""

    socket: int
    address: Address


@dataclass(slots=True)
class BindingRequest:
    """A parsed binding request; nothing in it is authenticated yet.

    `attributes` are those that are used; they end with MESSAGE-INTEGRITY (RFC 8489 section 14.5), which is at offset
    `integrity_offset`, 0 where it is missing. `unknown` are the comprehension-required types that are not supported.
    """

    transaction_id: bytes
    attributes: Mapping[int, bytes]
    integrity_offset: int
    unknown: Sequence[int]

    @property
    def local_ufrag(self) -> bytes:
        """Our half of USERNAME, which names the peer that the request is for; empty without USERNAME."""
        return self.attributes.get(USERNAME, b"").partition(b":")[0]


def read_binding_request(data: bytes) -> BindingRequest:
    """Parse a datagram. Raises StunError for anything but a binding request.

    FINGERPRINT is verified later, by `IceLite.answer`: only for requests that name a peer.
    """
    if len(data) < _HEADER.size or len(data) % 4:
        raise StunError("not the length of a STUN message")
    message_type, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if message_type != Method.BINDING | Class.REQUEST or cookie != COOKIE or length != len(data) - _HEADER.size:
        raise StunError("not a binding request")
    attributes: dict[int, bytes] = {}
    unknown: list[int] = []
    offset, total = _HEADER.size, len(data)
    for _ in range(_MAX_ATTRIBUTES):
        if offset >= total:
            return BindingRequest(transaction_id, attributes, 0, unknown)
        kind, size = _read_attribute(data, offset)
        begin = offset + 4
        end = begin + size
        if end > total:
            break
        if kind == MESSAGE_INTEGRITY:
            attributes[kind] = data[begin:end]
            return BindingRequest(transaction_id, attributes, offset, unknown)
        if kind in _UNDERSTOOD or kind >= _COMPREHENSION_OPTIONAL:
            if kind in _USED and kind not in attributes:
                attributes[kind] = data[begin:end]
        else:
            unknown.append(kind)
        offset = end + -size % 4
    raise StunError("an attribute does not fit")


@dataclass(frozen=True, slots=True)
class CheckReply:
    """The response to send, empty for none, and whether the request was authenticated."""

    data: bytes
    authenticated: bool


NO_REPLY: Final = CheckReply(b"", authenticated=False)


class IceLite:
    """Our end of ICE with one peer.

    Media is received by every validated path: libwebrtc starts DTLS before it nominates. We send by `path`, the one
    that was nominated last, or else validated last. `last_check_ns` is the time of the last authenticated check, 0
    before the first: the peer's consent (RFC 7675 section 5.1).
    """

    def __init__(self, ufrag: str, password: str) -> None:
        """The caller draws both, with at least 24 and 128 bits of randomness (RFC 8445 section 5.3)."""
        self.ufrag = ufrag.encode()
        self.remote_ufrag: bytes | None = None
        self.path: TransportPath | None = None
        self.last_check_ns = 0
        self._inner, self._outer = _keyed_sha1(password.encode())
        self._is_nominated = False

    def answer(
        self, data: bytes, request: BindingRequest, path: TransportPath, now_ns: int, *, sends_errors: bool = True
    ) -> CheckReply:
        """Answer a request (`data` are its bytes) that arrived by `path`; update the state if it is authenticated.

        RFC 8489 sections 6.3 and 9.1.3, RFC 8445 section 7.3. Building an error response costs more than finding the
        error, so the caller limits them by `sends_errors`. Raises StunError where the fingerprint is wrong: then the
        datagram is not STUN (RFC 8489 section 14.7).
        """
        code = self._error_code(data, request)
        if code and not sends_errors:
            return NO_REPLY
        if not _is_fingerprint_right(data):
            raise StunError("the fingerprint is wrong")
        if code:
            return self._error(request, code)
        self._validate(path, USE_CANDIDATE in request.attributes, now_ns)
        mapped = pack_xor_address((path.address[0], path.address[1]), request.transaction_id)
        success = self._message(Class.RESPONSE, request.transaction_id, {XOR_MAPPED_ADDRESS: mapped}, signed=True)
        return CheckReply(success, authenticated=True)

    def is_signed(self, data: bytes) -> bool:
        """Whether a message ends with our MESSAGE-INTEGRITY and FINGERPRINT, as checks do; nothing else is parsed.

        RFC 8445 section 7.1.
        """
        offset = len(data) - _INTEGRITY_BYTES - _FINGERPRINT_BYTES
        if offset < _HEADER.size or data[offset : offset + 4] != _INTEGRITY_HEADER:
            return False
        return hmac.compare_digest(self._integrity(data, offset), data[offset + 4 : -_FINGERPRINT_BYTES])

    def remove_path(self, path: TransportPath) -> None:
        """Send by this path no more: it was closed, or another peer has validated it."""
        if self.path == path:
            self.path = None
            self._is_nominated = False

    def _error_code(self, data: bytes, request: BindingRequest) -> int:
        """Return the error code of the response, 0 for success."""
        if not request.integrity_offset or USERNAME not in request.attributes:
            return 400
        if not self._is_authenticated(data, request):
            return 401
        if request.unknown:
            return 420
        return 487 if ICE_CONTROLLED in request.attributes else 0

    def _is_authenticated(self, data: bytes, request: BindingRequest) -> bool:
        local, _, remote = request.attributes[USERNAME].partition(b":")
        if local != self.ufrag or (self.remote_ufrag is not None and remote != self.remote_ufrag):
            return False
        expected = self._integrity(data, request.integrity_offset)
        return hmac.compare_digest(expected, request.attributes[MESSAGE_INTEGRITY])

    def _integrity(self, data: bytes, offset: int) -> bytes:
        """Return the HMAC of the bytes before `offset`, MESSAGE-INTEGRITY in the length (RFC 8489 section 14.5)."""
        inner, outer = self._inner.copy(), self._outer.copy()
        length = offset - _HEADER.size + _INTEGRITY_BYTES
        inner.update(data[:2] + length.to_bytes(2, "big") + data[4:offset])
        outer.update(inner.digest())
        return outer.digest()

    def _validate(self, path: TransportPath, is_nominated: bool, now_ns: int) -> None:
        self.last_check_ns = now_ns
        if is_nominated or not self._is_nominated:
            self.path = path
            self._is_nominated = is_nominated

    def _error(self, request: BindingRequest, code: int) -> CheckReply:
        attributes = {ERROR_CODE: _ERROR_CODE.pack(0, *divmod(code, 100)) + _REASONS[code].encode()}
        if code == 420:
            attributes[UNKNOWN_ATTRIBUTES] = b"".join(kind.to_bytes(2, "big") for kind in request.unknown)
        signed = code in _AFTER_AUTHENTICATION
        data = self._message(Class.ERROR, request.transaction_id, attributes, signed=signed)
        return CheckReply(data, authenticated=False)

    def _message(
        self, message_class: Class, transaction_id: bytes, attributes: Mapping[int, bytes], *, signed: bool
    ) -> bytes:
        """Return a binding message with its fingerprint."""
        body = b"".join(_attribute(kind, value) for kind, value in attributes.items())
        length = len(body) + (_INTEGRITY_BYTES if signed else 0) + _FINGERPRINT_BYTES
        data = _HEADER.pack(Method.BINDING | message_class, length, COOKIE, transaction_id) + body
        if signed:
            data += _attribute(MESSAGE_INTEGRITY, self._integrity(data, len(data)))
        return data + _attribute(FINGERPRINT, message_fingerprint(data).to_bytes(4, "big"))


def _keyed_sha1(key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Return HMAC's inner and outer hash after the key, to be copied (RFC 2104 section 4); cheaper than `hmac`."""
    if len(key) > _SHA1_BLOCK_BYTES:
        key = hashlib.sha1(key).digest()
    padded = key.ljust(_SHA1_BLOCK_BYTES, b"\0")
    inner, outer = (hashlib.sha1(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    return inner, outer


def _is_fingerprint_right(data: bytes) -> bool:
    """Whether FINGERPRINT, the last attribute, is right or absent (RFC 8489 section 14.7)."""
    if len(data) < _HEADER.size + _FINGERPRINT_BYTES or _ATTRIBUTE.unpack_from(data, len(data) - 8) != (
        FINGERPRINT,
        4,
    ):
        return True
    return int.from_bytes(data[-4:], "big") == message_fingerprint(data[:-8])


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)
