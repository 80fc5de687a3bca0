"""Read a client's codec parameters (`vp9_params` and the like in Sora's signalling) for the fmtp line of an offer."""

from collections.abc import Mapping
from typing import Any

Params = Mapping[str, Any]
"""A client's parameters of one codec: JSON values by Sora's names."""

Fmtp = Mapping[str, str]
"""Format parameters by their names in an SDP fmtp line (RFC 8866 section 6.15)."""


class ParametersError(ValueError):
    """A parameter has a value that no session description can express."""


def whole_number(params: Params, key: str, default: int, most: int) -> str:
    """Return a parameter that is a whole number from 0 to `most`, or the default. Raises ParametersError."""
    value = params.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ParametersError(f"{key} is not a whole number from 0 to {most}")
    return str(value)


def flag(params: Params, key: str) -> str:
    """Return a parameter that is a boolean as "0" or "1". Raises ParametersError."""
    value = params[key]
    if not isinstance(value, bool):
        raise ParametersError(f"{key} is neither true nor false")
    return "1" if value else "0"
