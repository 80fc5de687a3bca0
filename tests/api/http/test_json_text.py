"""JSON of clients: any bytes are a value that can be encoded again, or JsonError."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.http import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_decoded(value: object) -> None:
    assert json_text.decode(json.dumps(value).encode()) == value


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_decoded_or_json_error(data: bytes) -> None:
    try:
        value = json_text.decode(data)
    except json_text.JsonError:
        return
    msgspec.json.encode(value)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_has_a_limit(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deepest = opening * 127 + "[]" + closing * 127
    json_text.decode(deepest)
    for text in (opening + deepest + closing, opening * 10_000):
        with pytest.raises(json_text.JsonError):
            json_text.decode(text)
