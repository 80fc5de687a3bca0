"""Validation of requests: the subset of JSON Schema that the targets use, with violations in the form of jesse.

jesse is the JSON Schema validator that Sora uses. A violation is
{"invalid": "data", "error": ..., "schema": ..., "data": ..., "path": [...]} (jesse_error.erl).
`schema` is the violated rule alone. A missing property is in no `path`, so `schema` has its name.
Types are strict: neither a boolean nor 1.0 is an integer. Lengths are bytes of UTF-8. Unknown keys are allowed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Violation = dict[str, Any]
Rule = Mapping[str, Any]

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
}


@dataclass(frozen=True, slots=True)
class Schema:
    """The rules of one target's request. `more` returns violations of rules that involve several properties."""

    properties: Mapping[str, Rule] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    more: Callable[[Mapping[str, Any]], Iterator[Violation]] = lambda _request: iter(())

    def violations(self, request: Any) -> list[Violation]:
        """Return all violations; a handler may rely on a request without any."""
        if not isinstance(request, dict):
            return [violation("wrong_type", {"type": "object"}, request)]
        found = [
            violation("missing_required_property", {"required": [name]}, request)
            for name in self.required
            if name not in request
        ]
        for name, rule in self.properties.items():
            if name in request:
                found += _broken(rule, request[name], name)
        return found or list(self.more(request))


def violation(error: str, rule: Rule, data: Any, *path: str) -> Violation:
    """Return one violation in the form of jesse."""
    return {"invalid": "data", "error": error, "schema": rule, "data": data, "path": path}


def _broken(rule: Rule, value: Any, name: str) -> Iterator[Violation]:
    kind = rule.get("type")
    if kind is not None and not _TYPES[kind](value):
        yield violation("wrong_type", rule, value, name)
    elif kind == "integer" and not rule["minimum"] <= value <= rule["maximum"]:
        yield violation("not_in_range", rule, value, name)
    elif kind == "string" and not rule["minLength"] <= len(value.encode()) <= rule["maxLength"]:
        yield violation("wrong_length", rule, value, name)


ID: Rule = {"type": "string", "minLength": 1, "maxLength": 255}
"""The rule of channel_id, client_id and connection_id."""
