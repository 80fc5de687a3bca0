"""When a node logs in to etcd, and how long it pauses."""

import pytest

from rokuga.recorder.store.cluster.etcd_login import Login, is_auth_disabled, needs_login


@pytest.mark.parametrize(
    ("code", "message", "is_wanted"),
    [
        (16, "etcdserver: invalid auth token", True),
        (3, "etcdserver: user name is empty", True),
        (3, "etcdserver: revision of auth store is old", True),
        (7, "etcdserver: permission denied", False),
        (3, "etcdserver: request is too large", False),
        (14, "etcdserver: no leader", False),
    ],
)
def test_a_login_is_needed_if_a_token_is_missing_or_expired(code: int, message: str, is_wanted: bool) -> None:
    assert needs_login({"code": code, "message": message}) is is_wanted


def test_an_etcd_without_users_needs_no_login() -> None:
    assert is_auth_disabled({"code": 9, "error": "etcdserver: authentication is not enabled"})
    assert not is_auth_disabled(
        {"code": 3, "error": "etcdserver: authentication failed, invalid user ID or password"}
    )


def test_pauses_between_logins_that_fail_grow_to_a_limit_and_begin_anew_after_one_that_is_good() -> None:
    login, now_s, pauses = Login(), 100.0, []
    for _ in range(8):
        assert login.may_try(now_s)
        login.fail("wrong password", now_s)
        begin_s = now_s
        while not login.may_try(now_s):
            now_s += 0.5
        pauses.append(now_s - begin_s)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    login.accept("t.1")
    login.confirm()
    login.fail("wrong password", now_s)
    assert login.may_try(now_s + 1)


def test_a_token_that_another_call_has_renewed_is_kept() -> None:
    login = Login()
    login.accept("new")
    login.reject("old")
    assert login.token == "new"
