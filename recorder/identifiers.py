"""Clockwork Base32 of UUIDv4: the form of every id of Sora (26 characters, alphabet without I L O U).

The encoding takes 5-bit groups of the byte string, most significant first, the last group zero-filled.
"""

import hashlib
import uuid

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def clockwork_base32(data: bytes) -> str:
    """Encode bytes; 16 bytes give 26 characters."""
    padding_bits = -8 * len(data) % 5
    number = int.from_bytes(data, "big") << padding_bits
    length = (8 * len(data) + padding_bits) // 5
    return "".join(ALPHABET[number >> 5 * place & 31] for place in range(length - 1, -1, -1))


def new_id() -> str:
    """Return a new random id."""
    return clockwork_base32(uuid.uuid4().bytes)


def derived_id(*parts: str) -> str:
    """Return the id that depends on these parts alone, in the form of a UUIDv4.

    Recovery publishes an event again with the same id, because the id is derived from what the event is about.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()[:16]
    return clockwork_base32(uuid.UUID(bytes=digest, version=4).bytes)
