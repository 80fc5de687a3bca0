"""The token that etcd gives a user: when one is needed, and how often it is asked for. Pure.

Tokens expire, a restart of etcd forgets them, and whoever changes a user or a role may make them invalid. etcd says
so in the error of a call (api/v3rpc/rpctypes/error.go), and its own client logs in once more then
(client/v3/retry_interceptor.go, shouldRefreshToken).
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


def wants_login(answer: Mapping[str, Any]) -> bool:
    """Return whether the error of a call says that a token is missing, or no longer valid."""
    return answer.get("code") == UNAUTHENTICATED or any(fault in _message(answer) for fault in _TOKEN_FAULTS)


def needs_no_login(answer: Mapping[str, Any]) -> bool:
    """Return whether the error of a login says that etcd has no users, so that calls need no token."""
    return _NOT_ENABLED in _message(answer)


def _message(answer: Mapping[str, Any]) -> str:
    return str(answer.get("message") or answer.get("error"))


class Login:
    """The token, and when the next login may be tried. `token` is empty where etcd needs none."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.fault = ""
        self._failures = 0
        self._next_s = 0.0

    def may_try(self, now_s: float) -> bool:
        """Return whether a login may be tried; not within the pause after one that failed."""
        return now_s >= self._next_s

    def accept(self, token: str) -> None:
        """Keep a token; pauses begin with the shortest again once a call with it is answered."""
        self.token = token

    def confirm(self) -> None:
        """Note that the token, if there is one, was good for a call."""
        self._failures, self._next_s, self.fault = 0, 0.0, ""

    def reject(self, token: str | None) -> None:
        """Forget a token that etcd did not accept, unless another call has got a newer one meanwhile."""
        if self.token == token:
            self.token = None

    def fail(self, fault: str, now_s: float) -> None:
        """Note that a login, or a call right after one, was refused: the next is tried after a longer pause."""
        self.fault = fault
        self._failures += 1
        self._next_s = now_s + LOGIN_RETRY.pause_s(self._failures)
