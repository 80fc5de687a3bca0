"""Keys, comparisons and operations in the JSON of etcd's gateway. Pure.

Keys and values are base64, 64-bit numbers are strings, and zeros are omitted
(etcd.io/docs/v3.4/dev-guide/api_grpc_gateway).
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from rokuga.recorder.store import StoreError

Json = Mapping[str, Any]

_HAS_LEADER: Final = {"Grpc-Metadata-hasleader": "true"}
_UNAVAILABLE: Final = 14


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key and its value, None if it was deleted; `created` and `modified` are revisions of the whole store."""

    key: str
    value: bytes | None
    created: int
    modified: int


def to_base64(text: str | bytes) -> str:
    """Return text or bytes as base64. Raises StoreError for text that UTF-8 cannot encode."""
    try:
        return b64encode(text.encode() if isinstance(text, str) else text).decode()
    except UnicodeEncodeError as error:
        raise StoreError(f"cannot be a key: {error}") from error


def range_end_of(prefix: str) -> str:
    """Return the end of the range of all keys with this prefix, as base64."""
    raw = prefix.encode()
    return to_base64(raw[:-1] + bytes([raw[-1] + 1]))


def key_value(found: Json) -> KeyValue:
    """Decode a key-value pair. Raises StoreError."""
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
    """Decode an event of a watch. Raises StoreError."""
    found = key_value(event["kv"])
    is_deleted = event.get("type") == "DELETE"
    return KeyValue(found.key, None, 0, found.modified) if is_deleted else found


def absent(key: str) -> Json:
    """Return the comparison that a key does not exist."""
    return {"key": to_base64(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}


def present(key: str) -> Json:
    """Return the comparison that a key exists."""
    return {"key": to_base64(key), "target": "CREATE", "result": "GREATER", "create_revision": "0"}


def unchanged(found: KeyValue) -> Json:
    """Return the comparison that a key has not changed since it was read."""
    return {"key": to_base64(found.key), "target": "MOD", "result": "EQUAL", "mod_revision": str(found.modified)}


def put(key: str, value: bytes, lease: str = "0") -> Json:
    """Return the operation that writes a key."""
    return {"request_put": {"key": to_base64(key), "value": to_base64(value), "lease": lease}}


def read(key: str) -> Json:
    """Return the operation that reads a key."""
    return {"request_range": {"key": to_base64(key)}}


def delete(key: str) -> Json:
    """Return the operation that deletes a key."""
    return {"request_delete_range": {"key": to_base64(key)}}


def delete_all(prefix: str) -> Json:
    """Return the operation that deletes all keys with a prefix."""
    return {"request_delete_range": {"key": to_base64(prefix), "range_end": range_end_of(prefix)}}


def read_results(answer: Any) -> Sequence[KeyValue]:
    """Return the keys that the reads of a transaction found."""
    return [
        key_value(found)
        for response in answer.get("responses", ())
        for found in response.get("response_range", {}).get("kvs", ())
    ]


def headers_of(token: str | None) -> Mapping[str, str]:
    """Return the headers of a call: a server without a leader refuses it, and the token if there is one."""
    return _HAS_LEADER | ({"Authorization": token} if token else {})


def decode_answer(line: bytes) -> Any:
    """Decode a JSON object. Anything else, such as a proxy's page, is returned as the error "unavailable"."""
    try:
        answer = msgspec.json.decode(line)
    except msgspec.DecodeError:
        answer = None
    return answer if isinstance(answer, dict) else {"code": _UNAVAILABLE, "error": repr(line[:200])}
