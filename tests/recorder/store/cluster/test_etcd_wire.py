"""The JSON of etcd's gateway, and invalid answers."""

from typing import Any

import pytest

from rokuga.recorder.store import StoreError
from rokuga.recorder.store.cluster.etcd_wire import (
    KeyValue,
    change,
    delete_all,
    key_value,
    put,
    range_end_of,
    read_results,
    to_base64,
)


def test_zeros_are_omitted_and_numbers_are_strings() -> None:
    assert key_value({"key": "L2E="}) == KeyValue("/a", b"", 0, 0)
    found = {"key": "L2E=", "value": "Yg==", "create_revision": "3", "mod_revision": "9007199254740993"}
    assert key_value(found) == KeyValue("/a", b"b", 3, 9007199254740993)
    assert change({"kv": found}) == key_value(found)
    assert change({"type": "DELETE", "kv": {"key": "L2E=", "mod_revision": "4"}}) == KeyValue("/a", None, 0, 4)
    assert read_results({"responses": [{"response_range": {"kvs": [found]}}]}) == [key_value(found)]
    assert read_results({"responses": [{"response_range": {}}]}) == []


def test_operations_are_base64() -> None:
    assert put("/a", b"b", "7") == {"request_put": {"key": "L2E=", "value": "Yg==", "lease": "7"}}
    assert delete_all("/a") == {"request_delete_range": {"key": "L2E=", "range_end": to_base64("/b")}}
    assert range_end_of("/") == to_base64("0")


@pytest.mark.parametrize(
    "found", [{}, {"key": 1}, {"key": "L2E"}, {"key": "/w=="}, {"key": "L2E=", "mod_revision": "x"}]
)
def test_an_invalid_key_is_a_named_error(found: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="no key"):
        key_value(found)


def test_text_that_utf_8_cannot_encode_is_no_key() -> None:
    with pytest.raises(StoreError, match="cannot be a key"):
        to_base64("\ud800")
