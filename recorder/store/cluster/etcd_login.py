"""The token of an etcd user: when a login is needed, and when it may be tried. Pure.

A token becomes invalid when it expires, when etcd restarts, and when a user or a role is changed. The error of a call
contains that (api/v3rpc/rpctypes/error.go); etcd's own client logs in again then (client/v3/retry_interceptor.go,
shouldRefreshToken).
"""

from collections.abc import Mapping
from typing import Any, Final

from rokuga.recorder.retry import RetryPolicy
from rokuga.recorder.store import StoreError

LOGIN_RETRY: Final = RetryPolicy((StoreError,), first_pause_s=1.0, factor=2.0, max_pause_s=30.0, resource="etcd")
"""etcd checks a password with bcrypt, which is meant to be slow."""

UNAUTHENTICATED: Final = 16
_TOKEN_FAULTS: Final = ("invalid auth token", "user name is empty", "revision of auth store is old")
_NOT_ENABLED: Final = "authentication is not enabled"


def needs_login(answer: Mapping[str, Any]) -> bool:
    """Return whether the error of a call means that a token is missing or no longer valid."""
    return answer.get("code") == UNAUTHENTICATED or any(fault in _message(answer) for fault in _TOKEN_FAULTS)


def is_auth_disabled(answer: Mapping[str, Any]) -> bool:
    """Return whether the error of a login means that etcd has no users, so that calls need no token."""
    return _NOT_ENABLED in _message(answer)


def _message(answer: Mapping[str, Any]) -> str:
    return str(answer.get("message") or answer.get("error"))


class Login:
    """The token, and when the next login may be tried. `token` is empty if etcd needs none."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.fault = ""
        self._failures = 0
        self._next_s = 0.0

    def may_try(self, now_s: float) -> bool:
        """Return whether a login may be tried: not during the pause after one that failed."""
        return now_s >= self._next_s

    def accept(self, token: str) -> None:
        """Store a token. The pauses are reset by `confirm`."""
        self.token = token

    def confirm(self) -> None:
        """Record that a call succeeded with the token, or without one; the pauses begin anew."""
        self._failures, self._next_s, self.fault = 0, 0.0, ""

    def reject(self, token: str | None) -> None:
        """Discard a token that etcd rejected, unless another call has stored a newer one meanwhile."""
        if self.token == token:
            self.token = None

    def fail(self, fault: str, now_s: float) -> None:
        """Record that a login, or a call right after one, was refused: the next pause is longer."""
        self.fault = fault
        self._failures += 1
        self._next_s = now_s + LOGIN_RETRY.pause_s(self._failures)
