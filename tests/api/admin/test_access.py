"""Access to the page."""

import base64

import pytest

from rokuga.api.admin.access import LOOPBACK_ONLY, NO_PASSWORD, UNAUTHORIZED, AdminAccessPolicy
from rokuga.api.http.json_response import JsonResponse

TOKEN = "0123456789abcdef"
PASSWORD = "me:secret:ü"
RIGHT = f"Basic {base64.b64encode(PASSWORD.encode()).decode()}"
BEARER = f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("door", "credentials", "is_local", "refusal"),
    [
        (AdminAccessPolicy(), [], True, None),
        (AdminAccessPolicy(), [], False, LOOPBACK_ONLY),
        (AdminAccessPolicy(basic_auth=PASSWORD), [RIGHT], False, LOOPBACK_ONLY),
        (AdminAccessPolicy(basic_auth=PASSWORD), [RIGHT], True, None),
        (AdminAccessPolicy(basic_auth=PASSWORD), [], True, UNAUTHORIZED),
        (AdminAccessPolicy(loopback_only=False), [], False, None),
        (AdminAccessPolicy(loopback_only=False, basic_auth=PASSWORD), [], False, UNAUTHORIZED),
        (AdminAccessPolicy(loopback_only=False, basic_auth=PASSWORD), [RIGHT], False, None),
        (AdminAccessPolicy(is_behind_proxy=True), [], True, NO_PASSWORD),
        (AdminAccessPolicy(is_behind_proxy=True), [], False, NO_PASSWORD),
        (AdminAccessPolicy(is_behind_proxy=True, token=TOKEN), [BEARER], False, None),
        (AdminAccessPolicy(is_behind_proxy=True, token=TOKEN), [], True, NO_PASSWORD),
        (AdminAccessPolicy(is_behind_proxy=True, basic_auth=PASSWORD), [], True, UNAUTHORIZED),
        (AdminAccessPolicy(is_behind_proxy=True, basic_auth=PASSWORD), [RIGHT], False, None),
        (AdminAccessPolicy(is_behind_proxy=True, basic_auth=PASSWORD, token=TOKEN), [BEARER], False, None),
    ],
)
def test_loopback_is_privileged_only_without_a_configured_proxy(
    door: AdminAccessPolicy, credentials: list[str], is_local: bool, refusal: JsonResponse | None
) -> None:
    assert door.refusal(credentials, is_local=is_local) is refusal


@pytest.mark.parametrize(
    "credentials",
    [
        ["Basic"],
        ["Basic "],
        [RIGHT + "="],
        [RIGHT + " "],
        [RIGHT + "\x1f"],
        [RIGHT.replace(" ", "\t")],
        [RIGHT.replace("Basic ", "Basic")],
        [RIGHT[:-1]],
        [RIGHT, RIGHT],
        ["Basic bWU6c2VjcmV0"],
        [BEARER],
        ["Basic éééé"],
    ],
)
def test_a_password_is_accepted_in_one_form_only(credentials: list[str]) -> None:
    assert AdminAccessPolicy(basic_auth=PASSWORD).refusal(credentials, is_local=True) is UNAUTHORIZED


def test_the_scheme_may_be_in_any_case() -> None:
    assert AdminAccessPolicy(basic_auth=PASSWORD).refusal([RIGHT.replace("Basic", "bAsIc")], is_local=True) is None
