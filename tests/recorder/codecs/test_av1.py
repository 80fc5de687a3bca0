"""AV1 payloads (RTP Payload Format For AV1 1.0) and what is stored of them."""

from fractions import Fraction
from io import BytesIO

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.codecs import av1
from rokuga.recorder.codecs.av1_obu import leb128, read_leb128, read_obu, read_sequence_header
from rokuga.recorder.codecs.depacketizer import PayloadError
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.bitwriter import BitWriter
from tests.recorder.codecs.feed import ended, fed, packet

DELIMITER, SEQUENCE, FRAME, TILE_LIST = b"\x10", b"\x08", b"\x30", b"\x40"  # headers without size


def sequence_header(width: int = 640, height: int = 360) -> bytes:
    """A reduced still picture's header: the shortest there is."""
    writer = BitWriter().put(0, 3).put(1).put(1).put(4, 5)
    writer.put(15, 4).put(15, 4).put(width - 1, 16).put(height - 1, 16)
    return writer.put(0, 3).put(0, 3).put(0).put(0).put(0).put(0).put(0, 2).put(0).done()


def test_a_12000_byte_obu_with_its_size_over_10_packets_is_complete() -> None:
    """Has_size = 1 on the wire; then 30 inter frames, the last one right before the end."""
    big = b"\x32" + leb128(11_997) + b"\x10" + bytes(11_996)
    sequence = packetize.obus(clips.encoded("AV1")[0])[1]
    key = sequence + big
    assert (len(big), sequence[0] >> 3) == (12_000, 1)
    inter = [b"\x32" + leb128(700) + bytes((0x30, i)) + bytes(698) for i in range(30)]
    payloads = [packetize.av1(unit, keep_sizes=True, size=1300) for unit in (key, *inter)]
    assert len(payloads[0]) == 10
    units = packetize.packets(payloads)
    packets = [packet for unit in units for packet in unit]
    depacketizer = av1.depacketizer({})
    assert [unit.data for unit in fed(depacketizer, packets)] == [key, *inter]
    missing = [packet if packet.sequence != 5 else None for packet in packets]
    depacketizer = av1.depacketizer({})
    assert [unit.data for unit in fed(depacketizer, missing)] == inter
    assert depacketizer.dropped_units == 1


def test_delimiters_and_tile_lists_are_left_out_and_sizes_put_in() -> None:
    payload = b"\x00" + b"\x01" + DELIMITER + b"\x04" + TILE_LIST + b"abc" + b"\x05" + FRAME + b"\x30xyz"
    unit = ended(av1.depacketizer({}), packet(payload, marker=True))
    assert unit is not None
    assert unit.data == b"\x32\x04\x30xyz"


def test_a_unit_of_a_delimiter_alone_is_ignored() -> None:
    depacketizer = av1.depacketizer({})
    assert ended(depacketizer, packet(b"\x10\x10", marker=True)) is None
    assert depacketizer.dropped_units == 0


def test_an_obu_extension_stays_where_it_is() -> None:
    unit = ended(av1.depacketizer({}), packet(b"\x10\x34\x20\x30xyz", marker=True))
    assert unit is not None
    assert unit.data == b"\x36\x20\x04\x30xyz"


def test_an_obu_cut_right_behind_its_header_is_joined() -> None:
    depacketizer = av1.depacketizer({})
    depacketizer.push(packet(b"\x50\x30"))
    depacketizer.push(packet(b"\xd0\x30"))
    unit = ended(depacketizer, packet(b"\x90z", marker=True))
    assert unit is not None
    assert unit.data == b"\x32\x02\x30z"


@pytest.mark.parametrize("count", range(4))
def test_elements_are_counted_by_w_or_by_their_lengths(count: int) -> None:
    elements = [FRAME + b"\x30" + bytes((i,)) for i in range(count or 5)]
    payload = bytes((count << 4,)) + b"".join(
        (b"" if count and i == count - 1 else b"\x03") + element for i, element in enumerate(elements)
    )
    unit = ended(av1.depacketizer({}), packet(payload, marker=True))
    assert unit is not None
    assert unit.data == b"".join(b"\x32\x02\x30" + bytes((i,)) for i in range(count or 5))


@pytest.mark.parametrize("cut", range(7))
def test_a_payload_cut_within_its_elements_is_an_error(cut: int) -> None:
    payload = (b"\x20\x03" + FRAME + b"\x30a" + FRAME + b"\x30b")[:cut]
    depacketizer = av1.depacketizer({})
    if not payload:
        assert ended(depacketizer, packet(payload, marker=True)) is None
        return
    if cut == 6:  # the last element has lost its end: it has no length, so nobody can tell
        assert ended(depacketizer, packet(payload, marker=True)) is not None
        return
    with pytest.raises(PayloadError):
        ended(depacketizer, packet(payload, marker=True))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x20\x09" + FRAME + b"\x30",  # an element longer than the payload
        b"\x10\x32\x05\x30",  # obu_size larger than the element
        b"\x10\x32\x01\x30\x30",  # and smaller
        b"\x10\xb0\x30",  # the forbidden bit
        b"\x00\x00",  # an element of nothing
        b"\x00\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # a length that does not end
        b"\x18\x30\x30",  # N without a sequence header
        b"\x88\x30",  # Z and N together
        b"\x18\x08\x00",  # a sequence header that is cut short
    ],
)
def test_what_breaks_the_format_is_an_error(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        ended(av1.depacketizer({}), packet(payload, marker=True))


def test_a_key_frame_that_lacks_its_sequence_header_gets_the_last_one() -> None:
    clip = clips.encoded("AV1")
    key = [obu for obu in packetize.obus(clip[0]) if obu[0] >> 3 != 2]
    assert key[0][0] >> 3 == 1
    depacketizer = av1.depacketizer({})
    first = packetize.packets([packetize.av1(clip[0])])[0]
    alone = packetize.packets([packetize.av1(b"".join(key[1:]))], first=len(first))[0]
    for item in alone:
        item.timestamp = 3000
    out = fed(depacketizer, first + alone)
    assert [unit.data for unit in out] == [b"".join(key)] * 2
    assert [unit.is_keyframe for unit in out] == [True, True]


def test_a_key_frame_whose_first_packet_is_lost_is_not_completed_with_old_headers() -> None:
    clip = clips.encoded("AV1")
    key = [obu for obu in packetize.obus(clip[0]) if obu[0] >> 3 != 2]
    first = packetize.packets([packetize.av1(clip[0])])[0]
    alone = packetize.packets([packetize.av1(b"".join(key[1:]))], first=len(first) + 1)[0]
    for item in alone:
        item.timestamp = 3000
    depacketizer = av1.depacketizer({})
    assert len(fed(depacketizer, [*first, None, *alone])) == 1
    assert depacketizer.dropped_units == 1


def test_the_configuration_record_is_the_one_that_ffmpeg_writes_for_the_same_stream() -> None:
    clip = clips.encoded("AV1")
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_mux_stream("av1", width=320, height=180)
        for i, data in enumerate(clip[:3]):
            muxed = av.Packet(data)
            muxed.stream, muxed.pts, muxed.dts, muxed.time_base = stream, i, i, Fraction(1, 30)
            muxed.is_keyframe = i == 0
            container.mux(muxed)
    with av.open(BytesIO(file.getvalue())) as container:
        expected = container.streams.video[0].codec_context.extradata
    unit = fed(av1.depacketizer({}), packetize.packets([packetize.av1(clip[0])])[0])[0]
    assert expected is not None
    assert av1.configuration_record(unit.data) == expected


@pytest.mark.parametrize("data", [b"", b"\x32\x01\x10", b"\x30\x10", b"\x0a\x05\x00", b"\x0e"])
def test_a_unit_without_a_sequence_header_has_no_configuration_record(data: bytes) -> None:
    with pytest.raises(PayloadError):
        av1.configuration_record(data)


@st.composite
def sequence_headers(draw: st.DrawFn) -> tuple[bytes, int, int, bytes]:
    """A header by section 5.5 of the specification, with its size and its av1C."""
    flag = st.integers(0, 1)
    width, height = draw(st.integers(1, 65536)), draw(st.integers(1, 65536))
    profile = draw(st.integers(0, 2))
    writer = BitWriter().put(profile, 3).put(0).put(0)
    delay_bits = 0
    if draw(flag):
        writer.put(1).put(0, 32).put(1, 32)
        if draw(flag):
            writer.put(1).ue(draw(st.integers(0, 1000)))
        else:
            writer.put(0)
        if draw(flag):
            delay_bits = draw(st.integers(1, 32))
            writer.put(1).put(delay_bits - 1, 5).put(0, 42)
        else:
            writer.put(0)
    else:
        writer.put(0)
    has_delay = draw(flag)
    points = draw(st.lists(st.tuples(st.integers(0, 31), flag), min_size=1, max_size=4))
    writer.put(has_delay).put(len(points) - 1, 5)
    for level, tier in points:
        writer.put(0, 12).put(level, 5)
        if level > 7:
            writer.put(tier)
        if delay_bits:
            present = draw(flag)
            writer.put(present).put(0, present * (2 * delay_bits + 1))
        if has_delay:
            present = draw(flag)
            writer.put(present).put(0, 4 * present)
    writer.put(15, 4).put(15, 4).put(width - 1, 16).put(height - 1, 16)
    has_ids = draw(flag)
    writer.put(has_ids).put(0, 7 * has_ids).put(0, 3).put(0, 4)
    has_order = draw(flag)
    writer.put(has_order).put(0, 2 * has_order)
    screen = draw(st.sampled_from(["select", "off", "on"]))
    writer.put(1) if screen == "select" else writer.put(0).put(screen == "on")
    if screen != "off":
        choose = draw(flag)
        writer.put(choose).put(0, 1 - choose)
    writer.put(0, 3 * has_order).put(0, 3)
    colour = draw_color_config(draw, writer, profile)
    level, tier = points[0]
    tier = tier if level > 7 else 0
    return writer.put(0).done(), width, height, bytes((0x81, profile << 5 | level, tier << 7 | colour, 0))


def draw_color_config(draw: st.DrawFn, writer: BitWriter, profile: int) -> int:
    flag = st.integers(0, 1)
    high = draw(flag)
    writer.put(high)
    twelve = draw(flag) if profile == 2 and high else 0
    if profile == 2 and high:
        writer.put(twelve)
    mono = draw(flag) if profile != 1 else 0
    if profile != 1:
        writer.put(mono)
    rgb = profile == 1 and draw(st.booleans())
    writer.put(1).put(1, 8).put(13, 8).put(0, 8) if rgb else writer.put(0)
    position = 0
    if mono:
        writer.put(0)
        x = y = 1
    elif rgb:
        x = y = 0
    else:
        writer.put(0)
        x, y = {0: (1, 1), 1: (0, 0), 2: (1, 0)}[profile]
        if profile == 2 and twelve:
            x = draw(flag)
            writer.put(x)
            y = draw(flag) if x else 0
            if x:
                writer.put(y)
        if x and y:
            position = draw(st.integers(0, 3))
            writer.put(position, 2)
    return high << 6 | twelve << 5 | mono << 4 | x << 3 | y << 2 | position


@given(case=sequence_headers())
def test_every_sequence_header_gives_its_size_and_its_av1c(case: tuple[bytes, int, int, bytes]) -> None:
    data, width, height, av1c = case
    header = read_sequence_header(data)
    assert (header.width, header.height, header.av1c) == (width, height, av1c)


def test_a_reduced_still_picture_is_a_key_frame_whatever_its_frame_begins_with() -> None:
    payload = b"\x28" + leb128(1 + len(sequence_header())) + SEQUENCE + sequence_header() + FRAME + b"\xff"
    unit = ended(av1.depacketizer({}), packet(payload, marker=True))
    assert unit is not None
    assert (unit.is_keyframe, unit.width, unit.height) == (True, 640, 360)


@given(value=st.integers(0, (1 << 32) - 1))
def test_leb128_reads_what_it_wrote(value: int) -> None:
    data = leb128(value)
    assert read_leb128(b"x" + data + b"x", 1) == (value, 1 + len(data))
    assert data == packetize.leb128(value)


def test_a_longer_form_of_a_length_is_kept_as_it_came() -> None:
    obu = b"\x32\x82\x80\x00\x30z"
    assert read_obu(obu).stored == obu
    assert read_obu(obu).payload == b"\x30z"


def test_a_packet_may_end_one_obu_and_begin_the_next() -> None:
    depacketizer = av1.depacketizer({})
    depacketizer.push(packet(b"\x50" + FRAME + b"\x30a"))
    depacketizer.push(packet(b"\xe0\x01b" + FRAME + b"\x30"))
    unit = ended(depacketizer, packet(b"\x90c", marker=True))
    assert unit is not None
    assert unit.data == b"\x32\x03\x30ab" + b"\x32\x02\x30c"


@pytest.mark.parametrize(
    ("obu", "begins"),
    [
        (FRAME + b"\x30a", True),
        (b"\x18\x30a", True),  # a frame header
        (b"\x20\x30a", False),  # a tile group
        (b"\x28\x30a", False),  # metadata, which another OBU may have gone before
        (b"\x34\x00\x30a", True),  # a frame of spatial layer 0
        (b"\x34\x08\x30a", False),  # and of layer 1
    ],
)
def test_after_a_loss_only_what_stands_first_begins_a_unit(obu: bytes, begins: bool) -> None:
    out = fed(
        av1.depacketizer({}),
        [packet(b"\x10" + FRAME + b"\x30", marker=True), None, packet(b"\x10" + obu, 3000, marker=True)],
    )
    assert len(out) == 1 + begins
