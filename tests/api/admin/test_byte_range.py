"""The Range header (RFC 9110 section 14.1.2): its examples and edge cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.admin.byte_range import ByteRange, Unsatisfiable, requested_range


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-499", ByteRange(0, 499)),
        ("bytes=500-999", ByteRange(500, 999)),
        ("bytes=-500", ByteRange(9500, 9999)),
        ("bytes=9500-", ByteRange(9500, 9999)),
        ("bytes=0-99999", ByteRange(0, 9999)),
        ("bytes=-99999", ByteRange(0, 9999)),
        ("BYTES=0-0", ByteRange(0, 0)),
        (f"bytes=0-{'9' * 5000}", ByteRange(0, 9999)),
        (None, None),
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
        ("items=0-4", None),
        ("bytes=0-4,6-8", None),
    ],
)
def test_range_headers_are_parsed(header: str | None, wanted: ByteRange | None) -> None:
    """A range is cut at the end of the file; a malformed one means the whole file."""
    assert requested_range(header, 10_000) == wanted


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", f"bytes={'9' * 5000}-"])
def test_a_range_after_the_end_is_unsatisfiable(header: str) -> None:
    """Nothing can be sent: 416."""
    with pytest.raises(Unsatisfiable):
        requested_range(header, 10_000)


@given(st.text(alphabet="bytes=-0123456789, "), st.integers(0, 50))
def test_any_range_header_is_within_the_file_or_refused(header: str, size: int) -> None:
    """Any header results in a range inside the file, the whole file, or Unsatisfiable."""
    try:
        wanted = requested_range(header, size)
    except Unsatisfiable:
        return
    assert wanted is None or 0 <= wanted.first <= wanted.last < size
