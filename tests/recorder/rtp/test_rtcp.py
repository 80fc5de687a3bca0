"""RTCP to and from the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.rtp.rtcp import (
    MAX_BLOCKS,
    MAX_NACKED,
    MAX_PACKETS,
    Goodbye,
    KeyframeRequest,
    Nack,
    Remb,
    ReportBlock,
    RtcpError,
    RtcpMessage,
    build_goodbye,
    build_nack,
    build_pli,
    build_receiver_report,
    build_remb,
    build_source_description,
    parse_rtcp,
)
from rokuga.recorder.rtp.sender_report import SenderReport, build_sender_report

SSRCS = st.integers(0, 0xFFFFFFFF)
BLOCK = ReportBlock(
    ssrc=0x01020304,
    fraction_lost=0x20,
    cumulative_lost=0x0A0B0C,
    highest_sequence=0x00021234,
    jitter=0x55,
    last_sr=0x89ABCDEF,
    delay=0x00018000,
)

SENDER_REPORT = bytes.fromhex("80 c8 0006 00000002 00000001 80000000 00015f90 00000064 0000c350")
PLI = bytes.fromhex("81 ce 0002 00000007 00000002")
NACK = bytes.fromhex("81 cd 0003 00000007 00000002 0064 8001")
FIR = bytes.fromhex("84 ce 0004 00000007 00000000 00000002 01000000")
REMB = bytes.fromhex("8f ce 0005 00000007 00000000") + b"REMB" + bytes.fromhex("01 0b 10e4 00000002")
GOODBYE = bytes.fromhex("81 cb 0001 00000002")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(SENDER_REPORT, SenderReport(2, 1_500_000_000, 90_000, 100, 50_000, 0x00018000), id="SR"),
        pytest.param(PLI, KeyframeRequest(2), id="PLI"),
        pytest.param(NACK, Nack(2, (100, 101, 116)), id="NACK"),
        pytest.param(FIR, KeyframeRequest(2), id="FIR"),
        pytest.param(REMB, Remb(0x310E4 << 2, (2,)), id="REMB"),
        pytest.param(GOODBYE, Goodbye((2,)), id="BYE"),
    ],
)
def test_a_packet_is_read(data: bytes, message: RtcpMessage) -> None:
    assert parse_rtcp(data) == [message]


def test_a_compound_gives_its_messages_in_order_and_skips_the_rest() -> None:
    report = build_receiver_report(7, [BLOCK])
    application = bytes.fromhex("80 cc 0002 00000007") + b"name"
    data = SENDER_REPORT + build_source_description(2, "name") + report + application + NACK + PLI
    assert parse_rtcp(data) == [*parse_rtcp(SENDER_REPORT), Nack(2, (100, 101, 116)), KeyframeRequest(2)]


def test_the_report_blocks_of_a_sender_are_skipped() -> None:
    block = build_receiver_report(7, [BLOCK])[8:]
    data = bytes.fromhex("81 c8 000c") + SENDER_REPORT[4:] + block
    assert parse_rtcp(data) == parse_rtcp(SENDER_REPORT)


def test_goodbye_may_give_a_reason() -> None:
    assert parse_rtcp(bytes.fromhex("81 cb 0002 00000002") + b"\x03bye") == [Goodbye((2,))]


def test_feedback_of_unknown_formats_is_skipped() -> None:
    assert parse_rtcp(bytes.fromhex("8f cd 0003 00000007 00000002 00000000")) == []
    assert parse_rtcp(bytes.fromhex("8f ce 0003 00000007 00000002") + b"ABCD") == []


def test_one_fir_may_ask_several_sources() -> None:
    data = bytes.fromhex("84 ce 0006 00000007 00000000 00000002 01000000 00000003 01000000")
    assert parse_rtcp(data) == [KeyframeRequest(2), KeyframeRequest(3)]


def test_padding_is_removed() -> None:
    assert parse_rtcp(bytes.fromhex("a1 cd 0004 00000007 00000002 0064 8001 00000004")) == parse_rtcp(NACK)


def test_a_nack_goes_over_the_wrap() -> None:
    assert parse_rtcp(bytes.fromhex("81 cd 0003 00000007 00000002 fffe 0003")) == [Nack(2, (65_534, 65_535, 0))]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80", id="a byte"),
        pytest.param(PLI + b"\x80\xc9\x00", id="a header cut short"),
        pytest.param(PLI[:-1], id="a body cut short"),
        pytest.param(b"\x41" + PLI[1:], id="version 1"),
        pytest.param(bytes.fromhex("80 c8 0005") + bytes(20), id="a sender report cut short"),
        pytest.param(bytes.fromhex("82 cb 0001 00000002"), id="a goodbye cut short"),
        pytest.param(bytes.fromhex("81 ce 0001 00000007"), id="a PLI of nobody"),
        pytest.param(bytes.fromhex("8f ce 0003 00000007 00000000") + b"REMB", id="a REMB without estimate"),
        pytest.param(REMB[:16] + b"\x02" + REMB[17:], id="a REMB cut short"),
        pytest.param(bytes.fromhex("a0 c9 0000"), id="padding in nothing"),
        pytest.param(bytes.fromhex("a1 ce 0002 00000007 00000000"), id="padding of 0 bytes"),
        pytest.param(bytes.fromhex("a1 ce 0002 00000007 00000009"), id="more padding than packet"),
    ],
)
def test_what_is_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(RtcpError):
        parse_rtcp(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    try:
        parse_rtcp(data)
    except RtcpError:
        return


@given(
    st.lists(
        st.tuples(
            st.integers(0x80, 0xBF),
            st.integers(200, 207),
            st.binary(max_size=40).map(lambda b: b + bytes(-len(b) % 4)),
        )
    )
)
def test_any_well_framed_bytes_are_messages_or_an_error(packets: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(
        bytes((first, kind)) + (len(body) // 4).to_bytes(2, "big") + body for first, kind, body in packets
    )
    try:
        parse_rtcp(data)
    except RtcpError:
        return


def test_pli_and_nack_are_written_as_they_are_read() -> None:
    assert build_pli(7, 2) == PLI
    assert build_nack(7, 2, [100, 101, 116]) == NACK


@given(st.integers(0, 0xFFFF), st.sets(st.integers(0, 2000), max_size=MAX_NACKED))
def test_any_sequence_numbers_are_requested(first: int, steps: set[int]) -> None:
    sequences = [first + step & 0xFFFF for step in sorted(steps)]
    assert parse_rtcp(build_nack(7, 2, sequences)) == [Nack(2, tuple(sequences))]


def test_neighbours_share_a_pair() -> None:
    assert len(build_nack(7, 2, range(65_530, 65_530 + 17))) == 16
    assert len(build_nack(7, 2, range(65_530, 65_530 + 18))) == 20


def test_a_nack_is_bounded_however_much_is_lost() -> None:
    data = build_nack(7, 2, range(0, 17 * 1000, 17))
    assert len(data) == 1036
    assert parse_rtcp(data) == [Nack(2, tuple(range(0, 17 * MAX_NACKED, 17)))]


def test_a_receiver_report_is_written() -> None:
    assert build_receiver_report(7, [BLOCK]) == bytes.fromhex(
        "81 c9 0007 00000007 01020304 20 0a0b0c 00021234 00000055 89abcdef 00018000"
    )
    assert build_receiver_report(7, []) == bytes.fromhex("80 c9 0001 00000007")


@pytest.mark.parametrize(
    ("lost", "written"), [(-1, "ffffff"), (-(10**9), "800000"), (10**9, "7fffff")], ids=["-1", "least", "most"]
)
def test_cumulative_loss_is_signed_and_bounded(lost: int, written: str) -> None:
    block = ReportBlock(1, 0, lost, 0, 0, 0, 0)
    assert build_receiver_report(7, [block])[13:16].hex() == written


def test_what_exceeds_the_count_is_left_out() -> None:
    report = build_receiver_report(7, [BLOCK] * 40)
    assert report[0] == 0x80 | MAX_BLOCKS
    assert len(report) == 8 + 24 * MAX_BLOCKS
    assert parse_rtcp(build_goodbye(range(40))) == [Goodbye(tuple(range(MAX_BLOCKS)))]


@given(st.integers(0, 2**60), st.lists(SSRCS, max_size=5))
def test_remb_keeps_18_bits_of_the_rate(bit_rate_bps: int, ssrcs: list[int]) -> None:
    (remb,) = parse_rtcp(build_remb(7, bit_rate_bps, ssrcs))
    assert isinstance(remb, Remb)
    assert remb.ssrcs == tuple(ssrcs)
    assert remb.bit_rate_bps <= bit_rate_bps
    assert bit_rate_bps - remb.bit_rate_bps <= bit_rate_bps >> 17


@pytest.mark.parametrize("length", range(8))
def test_a_description_ends_with_a_null_and_fills_words(length: int) -> None:
    data = build_source_description(2, "n" * length)
    assert len(data) == 4 * (1 + int.from_bytes(data[2:4], "big"))
    assert data[:2] == b"\x81\xca"
    assert data[4:10] == bytes((0, 0, 0, 2, 1, length))
    assert data[10:].rstrip(b"\0") == b"n" * length
    assert data[-1] == 0
    assert parse_rtcp(data) == []


def test_a_description_counts_bytes_not_letters_and_is_cut() -> None:
    assert build_source_description(2, "é")[9:12] == b"\x02\xc3\xa9"
    assert build_source_description(2, "n" * 300)[9] == 255


@given(SSRCS, st.integers(0, 2**32 * 10**9 - 1), SSRCS, SSRCS, SSRCS)
def test_a_sender_report_is_read_as_it_was_written(
    ssrc: int, ntp_ns: int, rtp_time: int, packets: int, octets: int
) -> None:
    (report,) = parse_rtcp(build_sender_report(ssrc, ntp_ns, rtp_time, packets, octets))
    assert isinstance(report, SenderReport)
    assert (report.ssrc, report.rtp_time, report.packets, report.octets) == (ssrc, rtp_time, packets, octets)
    assert 0 <= ntp_ns - report.ntp_ns <= 1, "a fraction is finer than 1 ns"


def test_the_counters_of_a_sender_report_wrap() -> None:
    (report,) = parse_rtcp(build_sender_report(2, 2**32 * 10**9 + 1_000_000_000, 2**32 + 5, 2**32 + 6, 2**32 + 7))
    assert report == SenderReport(2, 1_000_000_000, 5, 6, 7, 0x00010000)


def test_a_compound_has_so_many_packets_at_most() -> None:
    """Empty ones have four bytes: a datagram could hold hundreds."""
    empty = b"\x80\xc9\0\0"
    assert parse_rtcp(empty * MAX_PACKETS) == []
    with pytest.raises(RtcpError, match="more than 64 RTCP packets"):
        parse_rtcp(empty * (MAX_PACKETS + 1))


def test_who_wants_reports_alone_reads_nothing_else() -> None:
    report = build_sender_report(7, 5 * 10**18, 99, 1, 2)
    data = report + build_nack(7, 9, range(256)) + build_goodbye((7,))
    assert [type(message) for message in parse_rtcp(data)] == [SenderReport, Nack, Goodbye]
    assert [type(message) for message in parse_rtcp(data, only_reports=True)] == [SenderReport]
    with pytest.raises(RtcpError):
        parse_rtcp(data[:-1], only_reports=True)
