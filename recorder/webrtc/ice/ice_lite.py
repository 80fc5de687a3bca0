"""ICE-lite: the answers to a peer's connectivity checks, and what they prove. Pure.

RFC 8445 (ICE; lite in sections 2.5 and 7.3), RFC 8489 (STUN; short-term credentials in 9.1), RFC 7675 (consent).
A lite agent has host candidates only, sends no checks and is always controlled. Requests are read here rather than
by aioice's `parse_message`, because that hides unknown attributes (a 420 has to name them) and checks every
stranger's fingerprint before the username tells whether the message is for us at all.
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
    """One way to a peer: the index of our socket, and the peer's address."""

    socket: int
    address: Address


@dataclass(slots=True)
class BindingRequest:
    """A binding request as it came; nothing of it is authenticated.

    `attributes` are those that we use; they end with MESSAGE-INTEGRITY (RFC 8489 section 14.5), which is at
    `integrity_place`, 0 where it is missing. `unknown` are the comprehension-required types that we do not know.
    """

    transaction_id: bytes
    attributes: Mapping[int, bytes]
    integrity_place: int
    unknown: Sequence[int]

    @property
    def local_ufrag(self) -> bytes:
        """Our half of USERNAME: whom the request is for. Empty where it names nobody."""
        return self.attributes.get(USERNAME, b"").partition(b":")[0]


def read_binding_request(data: bytes) -> BindingRequest:
    """Read a datagram that starts as STUN does. Raises StunError for anything but a binding request.

    Costs about two microseconds: the fingerprint is left to `IceLite.answer`, which knows that it is for us.
    """
    if len(data) < _HEADER.size or len(data) % 4:
        raise StunError("not the length of a STUN message")
    message_type, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if message_type != Method.BINDING | Class.REQUEST or cookie != COOKIE or length != len(data) - _HEADER.size:
        raise StunError("not a binding request")
    attributes: dict[int, bytes] = {}
    unknown: list[int] = []
    place, total = _HEADER.size, len(data)
    for _ in range(_MAX_ATTRIBUTES):
        if place >= total:
            return BindingRequest(transaction_id, attributes, 0, unknown)
        kind, size = _read_attribute(data, place)
        begin = place + 4
        end = begin + size
        if end > total:
            break
        if kind == MESSAGE_INTEGRITY:
            attributes[kind] = data[begin:end]
            return BindingRequest(transaction_id, attributes, place, unknown)
        if kind in _UNDERSTOOD or kind >= _COMPREHENSION_OPTIONAL:
            if kind in _USED and kind not in attributes:
                attributes[kind] = data[begin:end]
        else:
            unknown.append(kind)
        place = end + -size % 4
    raise StunError("an attribute does not fit")


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send back to where the request came from, and whether the request proved that the peer is there.

    `data` is empty where an error is not told.
    """

    data: bytes
    authenticated: bool


UNTOLD: Final = Reply(b"", authenticated=False)


class IceLite:
    """Our end of ICE with one peer.

    Every path whose check is authenticated counts for receiving: libwebrtc starts DTLS before it nominates. We send
    on `path`: the one that was nominated last, or else validated last. `last_check_ns` is the time of the last
    authenticated check, 0 before the first: the peer's consent (RFC 7675 section 5.1).
    """

    def __init__(self, ufrag: str, password: str) -> None:
        """Both are drawn by the caller: at least 24 and 128 bits of randomness (RFC 8445 section 5.3)."""
        self.ufrag = ufrag.encode()
        self.remote_ufrag: bytes | None = None
        self.path: TransportPath | None = None
        self.last_check_ns = 0
        self._inner, self._outer = _keyed_sha1(password.encode())
        self._is_nominated = False

    def answer(
        self, data: bytes, request: BindingRequest, path: TransportPath, now_ns: int, *, tells_errors: bool = True
    ) -> Reply:
        """Answer a request (`data` are its bytes) that came by `path`; learn from it if it is authenticated.

        RFC 8489 sections 6.3 and 9.1.3, RFC 8445 section 7.3. Errors before authentication are not signed; writing
        one costs more than finding the fault, so the caller says whether it `tells_errors`. Raises StunError where
        the fingerprint is wrong, which says that this is no STUN at all.
        """
        code = self._fault(data, request)
        if code and not tells_errors:
            return UNTOLD
        if not _fingerprint_holds(data):
            raise StunError("the fingerprint is wrong")
        if code:
            return self._error(request, code)
        self._learn(path, USE_CANDIDATE in request.attributes, now_ns)
        mapped = pack_xor_address((path.address[0], path.address[1]), request.transaction_id)
        success = self._message(Class.RESPONSE, request.transaction_id, {XOR_MAPPED_ADDRESS: mapped}, signed=True)
        return Reply(success, authenticated=True)

    def has_signed(self, data: bytes) -> bool:
        """Whether a message that ends as every check does is signed with our password; nothing else of it is read.

        RFC 8445 section 7.1: MESSAGE-INTEGRITY, then FINGERPRINT.
        """
        place = len(data) - _INTEGRITY_BYTES - _FINGERPRINT_BYTES
        if place < _HEADER.size or data[place : place + 4] != _INTEGRITY_HEADER:
            return False
        return hmac.compare_digest(self._integrity(data, place), data[place + 4 : -_FINGERPRINT_BYTES])

    def forget(self, path: TransportPath) -> None:
        """Stop sending on a path that belongs to somebody else now."""
        if self.path == path:
            self.path = None
            self._is_nominated = False

    def _fault(self, data: bytes, request: BindingRequest) -> int:
        """Give the error code that is due, 0 where all is well."""
        if not request.integrity_place or USERNAME not in request.attributes:
            return 400
        if not self._is_ours(data, request):
            return 401
        if request.unknown:
            return 420
        return 487 if ICE_CONTROLLED in request.attributes else 0

    def _is_ours(self, data: bytes, request: BindingRequest) -> bool:
        local, _, remote = request.attributes[USERNAME].partition(b":")
        if local != self.ufrag or (self.remote_ufrag is not None and remote != self.remote_ufrag):
            return False
        expected = self._integrity(data, request.integrity_place)
        return hmac.compare_digest(expected, request.attributes[MESSAGE_INTEGRITY])

    def _integrity(self, data: bytes, place: int) -> bytes:
        """The HMAC over what is before `place`, MESSAGE-INTEGRITY in the length (RFC 8489 section 14.5)."""
        inner, outer = self._inner.copy(), self._outer.copy()
        length = place - _HEADER.size + _INTEGRITY_BYTES
        inner.update(data[:2] + length.to_bytes(2, "big") + data[4:place])
        outer.update(inner.digest())
        return outer.digest()

    def _learn(self, path: TransportPath, is_nominated: bool, now_ns: int) -> None:
        self.last_check_ns = now_ns
        if is_nominated or not self._is_nominated:
            self.path = path
            self._is_nominated = is_nominated

    def _error(self, request: BindingRequest, code: int) -> Reply:
        attributes = {ERROR_CODE: _ERROR_CODE.pack(0, *divmod(code, 100)) + _REASONS[code].encode()}
        if code == 420:
            attributes[UNKNOWN_ATTRIBUTES] = b"".join(kind.to_bytes(2, "big") for kind in request.unknown)
        signed = code in _AFTER_AUTHENTICATION
        data = self._message(Class.ERROR, request.transaction_id, attributes, signed=signed)
        return Reply(data, authenticated=False)

    def _message(
        self, message_class: Class, transaction_id: bytes, attributes: Mapping[int, bytes], *, signed: bool
    ) -> bytes:
        """Give a binding message with its fingerprint."""
        body = b"".join(_attribute(kind, value) for kind, value in attributes.items())
        length = len(body) + (_INTEGRITY_BYTES if signed else 0) + _FINGERPRINT_BYTES
        data = _HEADER.pack(Method.BINDING | message_class, length, COOKIE, transaction_id) + body
        if signed:
            data += _attribute(MESSAGE_INTEGRITY, self._integrity(data, len(data)))
        return data + _attribute(FINGERPRINT, message_fingerprint(data).to_bytes(4, "big"))


def _keyed_sha1(key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Give HMAC's inner and outer hash after the key, to be copied (RFC 2104 section 4): half the price of `hmac`."""
    if len(key) > _SHA1_BLOCK_BYTES:
        key = hashlib.sha1(key).digest()
    padded = key.ljust(_SHA1_BLOCK_BYTES, b"\0")
    inner, outer = (hashlib.sha1(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    return inner, outer


def _fingerprint_holds(data: bytes) -> bool:
    """Whether FINGERPRINT is right, or absent: it is the last attribute (RFC 8489 section 14.7)."""
    if len(data) < _HEADER.size + _FINGERPRINT_BYTES or _ATTRIBUTE.unpack_from(data, len(data) - 8) != (
        FINGERPRINT,
        4,
    ):
        return True
    return int.from_bytes(data[-4:], "big") == message_fingerprint(data[:-8])


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)
