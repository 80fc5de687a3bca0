"""H.264 payloads (RFC 6184), stored as Annex B that decodes from any key frame on."""

import base64
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.codecs import h264
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.h264_sps import read_size
from rokuga.recorder.media import RtpPacket
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.bitwriter import BitWriter
from tests.recorder.codecs.feed import ended, fed, packet

START_CODE = b"\x00\x00\x00\x01"


def annex_b(*units: bytes) -> bytes:
    return b"".join(START_CODE + unit for unit in units)


def clip() -> list[list[bytes]]:
    """NAL units of each access unit: the key frames 0 and 12 have SPS, PPS, SEI, IDR."""
    return [packetize.nal_units(unit) for unit in clips.encoded("H264")]


def of_kinds(units: list[bytes], *kinds: int) -> list[bytes]:
    return [unit for unit in units if unit[0] & 31 in kinds]


def packets_of(access_units: list[list[bytes]]) -> list[RtpPacket]:
    units = packetize.packets([packetize.h264(units) for units in access_units])
    return [packet for unit in units for packet in unit]


def test_a_stap_a_of_parameter_sets_then_a_fragmented_idr() -> None:
    units = of_kinds(clip()[0], 7, 8, 5)
    out = fed(h264.depacketizer({}), packets_of([units]))
    assert [unit.data for unit in out] == [annex_b(*units)]
    assert (out[0].is_keyframe, out[0].width, out[0].height) == (True, 320, 180)


def test_inter_frames_before_the_first_idr_are_no_key_frames_and_no_error() -> None:
    """Parameter sets come with the IDR only."""
    access_units = clip()[1:]
    depacketizer = h264.depacketizer({})
    out = fed(depacketizer, packets_of(access_units))
    assert [unit.is_keyframe for unit in out] == [i == 11 for i in range(23)]
    assert depacketizer.dropped_units == 0
    frames = clips.decoded("H264", [unit.data for unit in out[11:]])
    assert len(frames) == 12


def test_parameter_sets_of_the_sdp_alone_are_put_before_the_idr() -> None:
    """Sprop-parameter-sets, RFC 6184 section 8.1."""
    sps, pps = of_kinds(clip()[0], 7, 8)
    bare = [of_kinds(units, 1, 5) for units in clip()]
    fmtp = {"sprop-parameter-sets": ",".join(base64.b64encode(unit).decode() for unit in (sps, pps))}
    out = fed(h264.depacketizer(fmtp), packets_of(bare))
    assert [unit.data for unit in out] == [
        annex_b(sps, pps, *units) if i in {0, 12} else annex_b(*units) for i, units in enumerate(bare)
    ]
    assert [(u.width, u.height) for u in out if u.is_keyframe] == [(320, 180)] * 2
    assert len(clips.decoded("H264", [unit.data for unit in out])) == 24


def test_parameter_sets_seen_earlier_are_put_before_an_idr_that_lacks_them_behind_a_delimiter() -> None:
    sps, pps = of_kinds(clip()[0], 7, 8)
    idr = of_kinds(clip()[12], 5)
    delimiter = b"\x09\x10"
    out = fed(h264.depacketizer({}), packets_of([[sps, pps], [delimiter, *idr], [delimiter, pps, *idr]]))
    assert [unit.data for unit in out] == [
        annex_b(delimiter, sps, pps, *idr),
        annex_b(delimiter, sps, pps, *idr),
    ]


def test_an_idr_whose_parameter_sets_are_nowhere_is_an_error() -> None:
    idr = of_kinds(clip()[0], 5)
    depacketizer = h264.depacketizer({})
    packets = packets_of([idr])
    fed(depacketizer, packets[:-1], flush=False)
    with pytest.raises(PayloadError, match="parameter sets"):
        ended(depacketizer, packets[-1])


def test_an_idr_whose_parameter_sets_were_lost_on_the_way_is_not_completed_with_old_headers() -> None:
    """The sender sends them with every IDR: so what is missing here was lost, and may be new."""
    access_units = [of_kinds(units, 7, 8, 5, 1) for units in clip()]
    units = packetize.packets([packetize.h264(units) for units in access_units])
    packets: list[RtpPacket | None] = [packet for unit in units[:12] for packet in unit]
    out = fed(h264.depacketizer({}), [*packets, None, *units[12][1:], *units[13]])
    assert [unit.rtp_time for unit in out] == [3000 * i for i in (*range(12), 13)]


def test_parameter_sets_that_alternate_keep_every_key_frame_decodable() -> None:
    """SPS before every IDR, differing in their VUI only."""
    variants = [
        nal_units_of_encoder(320, 180, options={"x264-params": f"fullrange={value}"}) for value in ("on", "off")
    ]
    first, second = (of_kinds(units, 7)[0] for units in variants)
    assert first != second
    access_units = [variants[i % 2] for i in range(6)]
    out = fed(h264.depacketizer({}), packets_of(access_units))
    assert [unit.data for unit in out] == [annex_b(*units) for units in access_units]
    assert [(unit.is_keyframe, unit.width, unit.height) for unit in out] == [(True, 320, 180)] * 6
    for unit in out:
        assert len(clips.decoded("H264", [unit.data])) == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"\x67",  # a parameter set of nothing
        b"\x7c\x85",  # a fragment of nothing
        b"\x00\x01",  # type 0
        b"\x79\x00\x00\x00\x01\x41",  # STAP-B: interleaved mode only
        b"\x7a\x00\x00\x00\x01\x41",  # MTAP16
        b"\x7b\x00\x00\x00\x01\x41",  # MTAP24
        b"\x7d\x81\x00\x00\x01",  # FU-B
        b"\x7e\x00",  # types 30 and 31
        b"\x7f\x00",
        b"\x78\x00\x02\x41",  # an aggregation that is cut short
        b"\x78\x00\x00\x00\x01\x41",  # an aggregated unit of nothing
        b"\x78\x00\x01\x41\x00",  # a length that is cut short
    ],
)
def test_what_modes_0_and_1_do_not_have_is_an_error(payload: bytes) -> None:
    depacketizer = h264.depacketizer({})
    ended(depacketizer, packet(b"\x41\x9a", marker=True))
    with pytest.raises(PayloadError):
        ended(depacketizer, packet(payload, 3000, marker=True))


@given(units=st.lists(st.binary(min_size=2, max_size=30).map(lambda b: b"\x41" + b), min_size=2, max_size=5))
def test_a_stap_a_cut_at_any_byte_returns_complete_units_or_raises_payload_error(units: list[bytes]) -> None:
    payload = packetize.stap_a(units)
    borders = {1 + sum(2 + len(unit) for unit in units[:count]): count for count in range(1, len(units) + 1)}
    for length in range(1, len(payload) + 1):
        depacketizer = h264.depacketizer({})
        try:
            unit = ended(depacketizer, packet(payload[:length], marker=True))
        except PayloadError:
            assert length not in borders
            continue
        if unit is not None:
            assert unit.data == annex_b(*units[: borders[length]])


def test_end_of_sequence_is_a_unit_of_one_byte() -> None:
    depacketizer = h264.depacketizer({})
    depacketizer.push(packet(b"\x41\x9a", 0))
    unit = ended(depacketizer, packet(b"\x0a", 0, marker=True))
    assert unit is not None
    assert unit.data == annex_b(b"\x41\x9a", b"\x0a")


def test_a_parameter_set_of_more_than_4096_bytes_is_an_error() -> None:
    depacketizer = h264.depacketizer({})
    ended(depacketizer, packet(b"\x41\x9a", marker=True))
    with pytest.raises(PayloadError, match="4096"):
        ended(depacketizer, packet(b"\x68" + bytes(4096), 3000, marker=True))


def test_junk_in_the_sdp_is_left_out() -> None:
    sps, pps = of_kinds(clip()[0], 7, 8)
    good = [base64.b64encode(unit).decode() for unit in (sps, pps)]
    fmtp = {"sprop-parameter-sets": ",".join(["%%%", good[0], "", "Z0I", "Z0I=", good[1]])}
    assert sps in h264.parameter_sets(fmtp)
    out = fed(h264.depacketizer(fmtp), packets_of([of_kinds(clip()[0], 5)]))
    assert len(out) == 1


@pytest.mark.parametrize(("width", "height"), [(320, 180), (1920, 1080), (322, 182), (16, 16)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray"])
def test_the_size_in_an_encoders_sps_is_that_of_its_pictures(width: int, height: int, pixels: str) -> None:
    sps = of_kinds(nal_units_of_encoder(width, height, pixels), 7)[0]
    assert read_size(sps) == (width, height)


@pytest.mark.parametrize("options", [{"flags": "+ildct+ilme"}, {"x264-params": "cqm=jvt"}])
def test_interlaced_pictures_and_scaling_lists_do_not_change_the_size(options: dict[str, str]) -> None:
    assert read_size(of_kinds(nal_units_of_encoder(320, 180, options=options), 7)[0]) == (320, 180)


def nal_units_of_encoder(
    width: int, height: int, pixels: str = "yuv420p", options: dict[str, str] | None = None
) -> list[bytes]:
    """One key frame."""
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = width, height, pixels
    codec.framerate = Fraction(30)
    codec.options = options or {}
    frame = av.VideoFrame(width, height, pixels)
    frame.pts = 0
    return packetize.nal_units(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)]))


@given(
    columns=st.integers(1, 200),
    rows=st.integers(1, 200),
    interlaced=st.booleans(),
    order=st.integers(0, 2),
    crop=st.tuples(*[st.integers(0, 3)] * 4),
    lists=st.lists(st.integers(0, 2), min_size=8, max_size=8),
)
def test_every_form_of_sps_gives_its_size(
    columns: int, rows: int, interlaced: bool, order: int, crop: tuple[int, ...], lists: list[int]
) -> None:
    writer = BitWriter().put(100, 8).put(0, 8).put(31, 8).ue(0)
    writer.ue(1).ue(0).ue(0).put(0).put(1)
    for i, kind in enumerate(lists):
        writer.put(kind > 0)
        if kind == 1:
            writer.se(-8)  # the next scale is 0: the default list
        elif kind == 2:
            for _ in range(16 if i < 6 else 64):
                writer.se(1)
    writer.ue(0).ue(order)
    if order == 0:
        writer.ue(2)
    elif order == 1:
        writer.put(0).se(-3).se(4).ue(2).se(1).se(-1)
    writer.ue(1).put(0).ue(columns - 1).ue(rows - 1).put(not interlaced)
    if interlaced:
        writer.put(0)
    writer.put(1).put(1)
    for part in crop:
        writer.ue(part)
    sps = b"\x67" + with_emulation_prevention(writer.put(0).done())
    fields = 2 if interlaced else 1
    width = 16 * columns - 2 * (crop[0] + crop[1])
    height = 16 * rows * fields - 2 * fields * (crop[2] + crop[3])
    if height <= 0:
        with pytest.raises(PayloadError):
            read_size(sps)
    else:
        assert read_size(sps) == (width, height)


def with_emulation_prevention(data: bytes) -> bytes:
    out = bytearray()
    for byte in data:
        if byte <= 3 and out[-2:] == b"\x00\x00":
            out.append(3)
        out.append(byte)
    return bytes(out)


def test_a_picture_of_more_than_16384_pixels_is_an_error() -> None:
    writer = BitWriter().put(66, 8).put(0, 8).put(31, 8).ue(0).ue(0).ue(2).ue(1).put(0)
    writer.ue(1024).ue(10).put(1).put(1).put(0).put(0)
    with pytest.raises(PayloadError, match="16384"):
        read_size(b"\x67" + writer.done())


@pytest.mark.parametrize("is_early", [False, True])
def test_each_key_frame_has_the_parameter_sets_that_it_names_though_each_names_new_ones(is_early: bool) -> None:
    """https://github.com/w3c/webcodecs/issues/432: in a STAP-A before the IDR, or alone behind the picture before."""
    payloads: list[list[bytes]] = []
    for set_id in range(5):
        key, *rest = (packetize.nal_units(unit) for unit in clips.encoded_slices(1, 12, (0,), set_id))
        sets = [unit for unit in key if unit[0] & 31 in {7, 8}]
        others = [unit for unit in key if unit[0] & 31 not in {7, 8}]
        if is_early and payloads:
            payloads[-1] += sets
            payloads.append(packetize.h264(others))
        else:
            payloads.append([packetize.stap_a(sets), *packetize.h264(others)])
        payloads += [packetize.h264(units) for units in rest]
    packets = [packet for unit in packetize.packets(payloads) for packet in unit]
    out = [unit.data for unit in fed(h264.depacketizer({}), packets)]
    assert len(out) == 60
    assert len(clips.decoded("H264", out)) == 60
    for begin in range(0, 60, 12):
        assert len(clips.decoded("H264", out[begin:])) == 60 - begin, "a part decodes from its first picture on"
