"""The protocol of a datagram by its first byte."""

from rokuga.recorder.webrtc.transport.first_byte import DTLS, PROTOCOL_OF, SRTP, STUN, UNSUPPORTED


def test_each_first_byte_is_of_the_protocol_that_rfc_7983_assigns() -> None:
    assigned = {STUN: range(4), DTLS: range(20, 64), SRTP: range(128, 192)}
    expected = {first: protocol for protocol, firsts in assigned.items() for first in firsts}
    assert list(PROTOCOL_OF) == [expected.get(first, UNSUPPORTED) for first in range(256)]
