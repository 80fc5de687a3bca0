"""Validation: any JSON is valid or has violations."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.schema import Schema
from rokuga.api.targets.table import targets

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = ("channel_id", "expire_time", "split_duration", "split_only", "metadata", "client_id", "connection_id")
PLAUSIBLE = {
    "channel_id": st.text(min_size=1, max_size=255),
    "expire_time": st.integers(-1, 100),
    "split_duration": st.integers(-1, 100),
    "split_only": st.booleans(),
}
REQUESTS = ANYTHING | st.fixed_dictionaries(
    {}, optional={key: PLAUSIBLE.get(key, ANYTHING) | ANYTHING for key in KEYS}
)
LIMITS = RecordingLimits(max_expire_time=90, max_split_duration=80)
START = next(target.schema for name, target in targets(LIMITS).items() if name.operation == "StartRecording")


def is_integer(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


@given(REQUESTS)
def test_a_valid_start_follows_the_documentation(request: Any) -> None:
    """The same rules, written a second time."""
    allowed = (
        isinstance(request, dict)
        and isinstance(request.get("channel_id"), str)
        and 0 < len(request["channel_id"].encode()) <= 255
        and is_integer(request.get("expire_time"), 0, 90)
        and is_integer(request.get("split_duration", 1), 1, 80)
        and type(request.get("split_only", False)) is bool
        and (not request.get("split_only") or (request["expire_time"] == 0 and "split_duration" in request))
    )
    assert (not START.violations(request)) == allowed


@given(REQUESTS)
def test_violations_of_every_target_are_encoded(request: Any) -> None:
    for target in targets(LIMITS).values():
        msgspec.json.encode(target.schema.violations(request))


def test_no_rules_allow_every_object() -> None:
    assert Schema().violations({"any": "thing"}) == []
    assert Schema().violations(None)
