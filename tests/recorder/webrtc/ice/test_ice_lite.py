"""ICE-lite with requests that aioice builds, and with arbitrary bytes."""

from typing import Any

import pytest
from aioice.stun import Class, Message, Method, parse_message
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.webrtc.ice.ice_lite import CheckReply, IceLite, StunError, TransportPath, read_binding_request

UFRAG, PASSWORD = "a1b2c3d4", "0123456789abcdef0123456789abcdef"
PATH = TransportPath(0, ("192.0.2.7", 40000))
OTHER = TransportPath(0, ("192.0.2.7", 40001))


def check(
    *, username: str = f"{UFRAG}:peer", password: str = PASSWORD, nominate: bool = False, controlled: bool = False
) -> bytes:
    """Return a connectivity check of a full agent."""
    message = Message(Method.BINDING, Class.REQUEST, attributes={"USERNAME": username, "PRIORITY": 1})
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.attributes["ICE-CONTROLLED" if controlled else "ICE-CONTROLLING"] = 7
    message.add_message_integrity(password.encode())
    return bytes(message)


def answer(ice: IceLite, data: bytes, path: TransportPath = PATH, now_ns: int = 1) -> CheckReply:
    return ice.answer(data, read_binding_request(data), path, now_ns)


def error_code(reply: CheckReply) -> int | None:
    message = parse_message(reply.data)
    assert message.message_class == Class.ERROR
    assert not reply.authenticated
    return message.error_code


def test_a_valid_check_is_answered_with_the_mapped_address_signed_and_fingerprinted() -> None:
    ice = IceLite(UFRAG, PASSWORD)
    data = check()
    reply = answer(ice, data)
    message = parse_message(reply.data)
    assert reply.authenticated
    assert message.message_class == Class.RESPONSE
    assert message.transaction_id == parse_message(data).transaction_id
    assert message.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.7", 40000)
    assert message.check_message_integrity(PASSWORD.encode())
    assert "FINGERPRINT" in message.attributes


def test_the_mapped_address_may_be_ipv6() -> None:
    reply = answer(IceLite(UFRAG, PASSWORD), check(), TransportPath(1, ("2001:db8::7", 40000, 0, 0)))
    assert parse_message(reply.data).attributes["XOR-MAPPED-ADDRESS"] == ("2001:db8::7", 40000)


def test_a_request_names_its_peer_by_ufrag() -> None:
    assert read_binding_request(check()).local_ufrag == UFRAG.encode()


def test_media_is_sent_by_the_latest_valid_path_until_one_is_nominated() -> None:
    ice = IceLite(UFRAG, PASSWORD)
    answer(ice, check(), PATH)
    answer(ice, check(), OTHER)
    assert ice.path == OTHER, "not nominated yet: the latest validated path"
    answer(ice, check(nominate=True), PATH)
    answer(ice, check(), OTHER)
    assert ice.path == PATH, "a check without nomination does not change a nominated path"
    answer(ice, check(nominate=True), OTHER)
    assert ice.path == OTHER


def test_a_removed_path_is_not_used() -> None:
    ice = IceLite(UFRAG, PASSWORD)
    answer(ice, check(nominate=True), PATH)
    paths = []
    for forgotten in (OTHER, PATH):
        ice.remove_path(forgotten)
        paths.append(ice.path)
    answer(ice, check(), OTHER)
    assert [*paths, ice.path] == [PATH, None, OTHER]


def test_consent_is_the_time_of_the_last_authenticated_check() -> None:
    ice = IceLite(UFRAG, PASSWORD)
    answer(ice, check(), now_ns=5)
    answer(ice, check(password="wrong"), now_ns=9)
    assert ice.last_check_ns == 5


@pytest.mark.parametrize(
    ("made", "code"),
    [
        ({"password": "wrong"}, 401),
        ({"username": UFRAG}, 401),
        ({"username": f"{UFRAG}:other"}, 401),
        ({"username": "zzzz:peer"}, 401),
        ({"controlled": True}, 487),
    ],
)
def test_a_check_that_is_not_authenticated_is_answered_with_its_error_code(made: dict[str, Any], code: int) -> None:
    ice = IceLite(UFRAG, PASSWORD)
    ice.remote_ufrag = b"peer"
    assert error_code(answer(ice, check(**made))) == code
    assert ice.path is None
    assert ice.last_check_ns == 0


def test_the_peers_ufrag_is_not_required_before_its_sdp_is_known() -> None:
    assert answer(IceLite(UFRAG, PASSWORD), check(username=f"{UFRAG}:anything")).authenticated


@pytest.mark.parametrize("missing", ["USERNAME", "MESSAGE-INTEGRITY"])
def test_a_check_without_credentials_is_a_bad_request(missing: str) -> None:
    message = Message(Method.BINDING, Class.REQUEST, attributes={"USERNAME": f"{UFRAG}:peer"})
    if missing == "USERNAME":
        message.attributes.clear()
        message.add_message_integrity(PASSWORD.encode())
    assert error_code(answer(IceLite(UFRAG, PASSWORD), bytes(message))) == 400


def test_an_unknown_comprehension_required_attribute_is_named() -> None:
    message = Message(Method.BINDING, Class.REQUEST, attributes={"CHANNEL-NUMBER": 1, "USERNAME": f"{UFRAG}:peer"})
    message.add_message_integrity(PASSWORD.encode())
    reply = answer(IceLite(UFRAG, PASSWORD), bytes(message))
    assert error_code(reply) == 420
    assert b"\x00\x0a\x00\x02\x00\x0c\x00\x00" in reply.data
    assert parse_message(reply.data).check_message_integrity(PASSWORD.encode())


def test_an_unknown_comprehension_optional_attribute_is_ignored() -> None:
    message = Message(Method.BINDING, Class.REQUEST, attributes={"SOFTWARE": "x", "USERNAME": f"{UFRAG}:peer"})
    message.add_message_integrity(PASSWORD.encode())
    assert answer(IceLite(UFRAG, PASSWORD), bytes(message)).authenticated


def test_attributes_after_the_integrity_are_ignored() -> None:
    """RFC 8489 section 14.5: here a USE-CANDIDATE that an attacker appended."""
    ice = IceLite(UFRAG, PASSWORD)
    message = Message(Method.BINDING, Class.REQUEST, attributes={"USERNAME": f"{UFRAG}:peer"})
    message.add_message_integrity(PASSWORD.encode())
    message.attributes.pop("FINGERPRINT")
    message.attributes["USE-CANDIDATE"] = None
    message.add_fingerprint()
    answer(ice, bytes(message), PATH)
    answer(ice, check(), OTHER)
    assert ice.path == OTHER


def test_a_wrong_fingerprint_raises_a_stun_error() -> None:
    data = check()
    with pytest.raises(StunError):
        answer(IceLite(UFRAG, PASSWORD), data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("message_class", [Class.INDICATION, Class.RESPONSE, Class.ERROR])
def test_only_requests_are_parsed(message_class: Class) -> None:
    with pytest.raises(StunError):
        read_binding_request(bytes(Message(Method.BINDING, message_class)))


@given(st.text("abc", max_size=130))
def test_the_integrity_is_verified_without_parsing_the_message(password: str) -> None:
    """RFC 8445 section 7.1 puts it there. A password longer than a block of SHA-1 is hashed first (RFC 2104)."""
    ice = IceLite(UFRAG, password)
    assert ice.is_signed(check(password=password))
    assert not ice.is_signed(check(password=password + "d"))
    assert answer(ice, check(password=password)).authenticated


GOOD = check()


@given(st.binary(max_size=200) | st.integers(0, len(GOOD)).map(lambda size: GOOD[:size]))
def test_only_the_signed_message_is_signed(data: bytes) -> None:
    assert IceLite(UFRAG, PASSWORD).is_signed(data) == (data == GOOD)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: check()[:60] + tail))
def test_any_bytes_are_a_request_or_a_stun_error(data: bytes) -> None:
    ice = IceLite(UFRAG, PASSWORD)
    try:
        reply = answer(ice, data)
    except StunError:
        return
    assert not reply.authenticated


@given(st.integers(0, 255), st.integers(0, len(check(nominate=True)) - 9))
def test_no_changed_byte_is_authenticated(value: int, place: int) -> None:
    """Each byte up to the fingerprint is covered by the header's rules or by the integrity."""
    data = bytearray(check(nominate=True)[:-8])
    data[3] -= 8
    if data[place] == value:
        return
    data[place] = value
    ice = IceLite(UFRAG, PASSWORD)
    try:
        reply = answer(ice, bytes(data))
    except StunError:
        return
    assert not reply.authenticated
