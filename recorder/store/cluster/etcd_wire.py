"""Keys, comparisons and operations as etcd's JSON gateway writes them. Pure.

Keys and values are base64, 64-bit numbers are strings, and what is zero is left out
(etcd.io/docs/v3.4/dev-guide/api_grpc_gateway).
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rokuga.recorder.store import StoreError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it stands: `created` and `modified` are revisions of the whole store; `value` None: it was deleted."""

    key: str
    value: bytes | None
    created: int
    modified: int


def wire(text: str | bytes) -> str:
    """Give text or bytes as they go over the wire. Raises StoreError for what UTF-8 cannot hold."""
    try:
        return b64encode(text.encode() if isinstance(text, str) else text).decode()
    except UnicodeEncodeError as error:
        raise StoreError(f"cannot be a key: {error}") from error


def end_of(prefix: str) -> str:
    """Give the end of the range of all keys with this prefix."""
    raw = prefix.encode()
    return wire(raw[:-1] + bytes([raw[-1] + 1]))


def key_value(found: Json) -> KeyValue:
    """Read a key as etcd gives it. Raises StoreError."""
    try:
        return KeyValue(
            b64decode(found["key"]).decode(),
            b64decode(found.get("value", "")),
            int(found.get("create_revision", 0)),
            int(found.get("mod_revision", 0)),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError(f"etcd gives what is no key: {error}") from error


def change(event: Json) -> KeyValue:
    """Read an event of a watch. Raises StoreError."""
    found = key_value(event["kv"])
    is_deleted = event.get("type") == "DELETE"
    return KeyValue(found.key, None, 0, found.modified) if is_deleted else found


def absent(key: str) -> Json:
    """Compare: there is no such key."""
    return {"key": wire(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}


def present(key: str) -> Json:
    """Compare: there is such a key."""
    return {"key": wire(key), "target": "CREATE", "result": "GREATER", "create_revision": "0"}


def unchanged(found: KeyValue) -> Json:
    """Compare: the key is as it was found."""
    return {"key": wire(found.key), "target": "MOD", "result": "EQUAL", "mod_revision": str(found.modified)}


def put(key: str, value: bytes, lease: str = "0") -> Json:
    """Do: write a key."""
    return {"request_put": {"key": wire(key), "value": wire(value), "lease": lease}}


def read(key: str) -> Json:
    """Do: read a key."""
    return {"request_range": {"key": wire(key)}}


def delete(key: str) -> Json:
    """Do: delete a key."""
    return {"request_delete_range": {"key": wire(key)}}


def delete_all(prefix: str) -> Json:
    """Do: delete all keys with a prefix."""
    return {"request_delete_range": {"key": wire(prefix), "range_end": end_of(prefix)}}


def values_read(answer: Any) -> Sequence[KeyValue]:
    """Give the keys that a transaction read and found."""
    return [
        key_value(found)
        for response in answer.get("responses", ())
        for found in response.get("response_range", {}).get("kvs", ())
    ]
