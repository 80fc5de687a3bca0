"""VP9 with spatial layers: one picture, one size, in every decoder."""

import base64
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.codecs import vp9
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.vp9_frame import (
    Sizes,
    hidden,
    is_as_large_as_its_reference,
    is_keyframe,
    read_frame_header,
    superframe,
)
from rokuga.recorder.media import AccessUnit
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.bitwriter import BitWriter
from tests.recorder.codecs.feed import ended, fed

VECTORS = Path(__file__).parents[2] / "vectors"
Layers = list[tuple[int, bytes]]


def pictures_of(name: str) -> list[Layers]:
    pictures: dict[str, Layers] = defaultdict(list)
    for line in (VECTORS / name).read_text().splitlines():
        if not line.startswith("#"):
            number, layer, data = line.split()
            pictures[number].append((int(layer), base64.b64decode(data)))
    return list(pictures.values())


def recorded(pictures: list[Layers]) -> list[AccessUnit]:
    payloads = [
        packetize.vp9_layers(
            [frame for _, frame in layers],
            sids=[layer for layer, _ in layers],
            is_key=is_keyframe(layers[0][1]),
            structure=b"\x50" + bytes.fromhex("014000b4028001680500 02d0"),
        )
        for layers in pictures
    ]
    depacketizer = vp9.depacketizer({})
    out = fed(depacketizer, [packet for unit in packetize.packets(payloads) for packet in unit], flush=False)
    assert depacketizer.dropped_units == 0
    return out


def shown(units: list[bytes], decoder: str) -> list[av.VideoFrame]:
    return clips.decoded("VP9", units, decoder)


@pytest.mark.parametrize("decoder", ["vp9", "libvpx-vp9"])
def test_each_picture_is_shown_once_at_the_size_of_its_highest_layer(decoder: str) -> None:
    """1280x720, then 640x360 when the top layer stops; as many pictures as times; the size of the highest."""
    pictures = pictures_of("vp9_l3t3_key.txt")
    pictures = pictures[:6] + [layers[:2] for layers in pictures[6:9]] + [layers[:1] for layers in pictures[9:]]
    units = recorded(pictures)
    assert [unit.rtp_time for unit in units] == [3000 * i for i in range(12)]
    assert [(i, u.width, u.height) for i, u in enumerate(units) if u.is_keyframe] == [(0, 1280, 720)]
    sizes = [(frame.width, frame.height) for frame in shown([unit.data for unit in units], decoder)]
    assert sizes == [(1280, 720)] * 6 + [(640, 360)] * 3 + [(320, 180)] * 3


@pytest.mark.parametrize("decoder", ["vp9", "libvpx-vp9"])
def test_hiding_the_lower_layers_changes_no_pixel(decoder: str) -> None:
    """The truth is what FFmpeg shows last of each picture when all layers are left shown."""
    pictures = pictures_of("vp9_l3t3_key.txt")
    everything = shown([superframe([frame for _, frame in layers]) for layers in pictures], "vp9")
    assert len(everything) == 36
    frames = shown([unit.data for unit in recorded(pictures)], decoder)
    assert len(frames) == 12
    for frame, truth in zip(frames, everything[2::3], strict=True):
        assert np.array_equal(frame.to_ndarray(), truth.to_ndarray())


def test_all_layers_are_in_the_unit_in_order_with_an_index() -> None:
    pictures = pictures_of("vp9_l3t3_key.txt")
    for unit, layers in zip(recorded(pictures), pictures, strict=True):
        frames = [frame for _, frame in layers]
        assert unit.data[-1] & 0xE7 == 0xC2  # three frames
        assert unit.data.endswith(frames[-1] + unit.data[-(2 + 3 * ((unit.data[-1] >> 3 & 3) + 1)) :])
        assert len(unit.data) - sum(map(len, frames)) <= 2 + 3 * 3 + 2


def test_a_single_layer_is_stored_as_it_came() -> None:
    pictures = [layers[:1] for layers in pictures_of("vp9_l3t3_key.txt")]
    units = recorded(pictures)
    assert [unit.data for unit in units] == [layers[0][1] for layers in pictures]
    assert (units[0].width, units[0].height) == (320, 180)


@pytest.mark.parametrize("decoder", ["vp9", "libvpx-vp9"])
def test_of_layers_that_do_not_refer_to_each_other_the_highest_is_kept(decoder: str) -> None:
    pictures = pictures_of("vp9_s2t1.txt")
    units = recorded(pictures)
    assert [unit.data for unit in units] == [layers[-1][1] for layers in pictures]
    assert (units[0].width, units[0].height) == (1280, 720)
    frames = shown([unit.data for unit in units], decoder)
    assert [(frame.width, frame.height) for frame in frames] == [(1280, 720)] * len(pictures)


def test_without_that_highest_layer_nothing_can_be_decoded() -> None:
    pictures = pictures_of("vp9_s2t1.txt")
    payloads = [packetize.vp9_layers([frame for _, frame in pictures[0]], is_key=True)]
    payloads.append(packetize.vp9_layers([pictures[1][0][1]]))
    depacketizer = vp9.depacketizer({})
    key, inter = packetize.packets(payloads)
    assert len(fed(depacketizer, key)) == 1
    assert fed(depacketizer, inter[:-1], flush=False) == []
    with pytest.raises(PayloadError, match="layer"):
        ended(depacketizer, inter[-1])


def test_a_hidden_frame_reads_as_before_but_for_show_frame() -> None:
    sizes: Sizes = [(0, 0)] * 8
    for layers in pictures_of("vp9_l3t3_key.txt"):
        for _, frame in layers:
            header = read_frame_header(frame, sizes)
            twin = hidden(frame, header)
            read = read_frame_header(twin, sizes)
            assert (read.is_shown, read.end) == (False, header.end + (not header.is_keyframe))
            assert (read.width, read.height, read.refresh) == (header.width, header.height, header.refresh)
            assert twin[(read.end + 7) // 8 :] == frame[(header.end + 7) // 8 :]
            size = (header.width, header.height)
            sizes = [size if header.refresh >> i & 1 else old for i, old in enumerate(sizes)]


@pytest.mark.parametrize(("width", "height"), [(320, 180), (1920, 1080), (8192, 16)])
def test_headers_of_an_encoder_are_read_to_their_very_end(width: int, height: int) -> None:
    """The compressed header begins right there: its length is what the last 16 bits say, and a marker bit is 0."""
    sizes: Sizes = [(0, 0)] * 8
    for unit in clips.encoded("VP9", width, height, 3, (0,)):
        header = read_frame_header(unit, sizes)
        assert (header.width, header.height) == (width, height)
        end = (header.end + 7) // 8
        bits = int.from_bytes(unit[:end], "big")
        assert bits & (1 << 8 * end - header.end) - 1 == 0
        compressed = bits >> 8 * end - header.end & 0xFFFF
        assert 0 < compressed < len(unit) - end
        assert unit[end] < 0x80
        size = (header.width, header.height)
        sizes = [size if header.refresh >> i & 1 else old for i, old in enumerate(sizes)]


@st.composite
def inter_headers(draw: st.DrawFn) -> tuple[bytes, int, int, int]:
    """A shown inter frame's header by section 6.2, its length in bits, and its size. References are 640x360."""
    flag = st.integers(0, 1)

    def optional(writer: BitWriter, width: int) -> None:
        present = draw(flag)
        writer.put(present).put(draw(st.integers(0, (1 << width) - 1)) if present else 0, present * width)

    resilient = draw(flag)
    writer = BitWriter().put(2, 2).put(draw(st.integers(0, 2)), 2).put(0).put(1).put(1).put(resilient)
    writer.put(0, 2 * (1 - resilient)).put(draw(st.integers(0, 255)), 8)
    for _ in range(3):
        writer.put(draw(st.integers(0, 15)), 4)
    found = draw(st.integers(0, 3))
    width, height = (640, 360) if found < 3 else (draw(st.integers(1, 65536)), draw(st.integers(1, 65536)))
    for i in range(3):
        if i <= found:
            writer.put(i == found)
    if found == 3:
        writer.put(width - 1, 16).put(height - 1, 16)
    optional(writer, 32)  # render size
    writer.put(draw(flag))
    switchable = draw(flag)
    writer.put(switchable).put(0, 2 * (1 - switchable)).put(0, 2 * (1 - resilient)).put(0, 2)
    writer.put(0, 9)  # loop filter
    if draw(flag):
        writer.put(1)
        update = draw(flag)
        writer.put(update)
        for _ in range(6 * update):
            optional(writer, 7)
    else:
        writer.put(0)
    writer.put(0, 8)  # quantizer
    for _ in range(3):
        optional(writer, 5)
    if draw(flag):
        put_segmentation(draw, writer, optional)
    else:
        writer.put(0)
    superblocks = -(-width // 64)
    least = next(n for n in range(8) if 64 << n >= superblocks)
    most = max([n for n in range(12) if superblocks >> n >= 4], default=0)
    columns = draw(st.integers(least, max(least, most)))
    writer.put((1 << columns - least) - 1, columns - least)
    if columns < most:
        writer.put(0)
    rows = draw(flag)
    writer.put(rows).put(0, rows).put(77, 16)
    return writer.done(stop_bit=False), len(writer.bits), width, height


def put_segmentation(draw: st.DrawFn, writer: BitWriter, optional: Callable[[BitWriter, int], None]) -> None:
    flag = st.integers(0, 1)
    update_map = draw(flag)
    writer.put(1).put(update_map)
    if update_map:
        for _ in range(7):
            optional(writer, 8)
        temporal = draw(flag)
        writer.put(temporal)
        for _ in range(3 * temporal):
            optional(writer, 8)
    update_data = draw(flag)
    writer.put(update_data)
    if update_data:
        writer.put(0)
        for _ in range(8):
            for width in (9, 7, 2, 0):
                optional(writer, width)


@given(case=inter_headers())
def test_every_form_of_inter_header_is_read_to_its_end_and_hidden_with_one_bit_more(
    case: tuple[bytes, int, int, int],
) -> None:
    data, length, width, height = case
    sizes = [(640, 360)] * 8
    header = read_frame_header(data + b"\x5arest", sizes)
    assert (header.end, header.width, header.height, header.is_shown) == (length, width, height, True)
    twin = hidden(data + b"\x5arest", header)
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"[:length]
    expected = bits[:6] + "0" + bits[7] + "0" + bits[8:]
    found = f"{int.from_bytes(twin[:-5], 'big'):0{8 * (len(twin) - 5)}b}"
    assert found == expected + "0" * (-len(expected) % 8)
    assert twin.endswith(b"\x5arest")


@given(lost=st.sets(st.integers(1, 60), max_size=8))
@settings(max_examples=50)
def test_any_lost_packets_cost_exactly_the_pictures_that_they_are_of(lost: set[int]) -> None:
    """Layers too: a picture whose lowest layer is lost does not come out with the rest of it."""
    pictures = pictures_of("vp9_l3t3_key.txt")
    whole = recorded(pictures)
    payloads = [
        packetize.vp9_layers([frame for _, frame in layers], is_key=i == 0) for i, layers in enumerate(pictures)
    ]
    units = packetize.packets(payloads)
    key = len(units[0])
    packets = [packet for unit in units for packet in unit]
    gone = {key - 1 + number for number in lost}
    out = fed(vp9.depacketizer({}), [None if packet.sequence in gone else packet for packet in packets])
    expected = [u.data for u, unit in zip(whole, units, strict=True) if not gone & {p.sequence for p in unit}]
    assert [unit.data for unit in out] == expected


def test_a_lower_layer_that_only_repeats_an_old_picture_is_left_out() -> None:
    """show_existing_frame: it would be shown, and nothing depends on it."""
    inter = clips.encoded("VP9")[1]
    assert recorded([[(0, b"\x88"), (1, inter)]])[0].data == inter


@given(lengths=st.lists(st.integers(1, 70_000), min_size=2, max_size=8))
def test_a_superframe_index_gives_the_lengths_of_its_frames(lengths: list[int]) -> None:
    data = superframe([bytes(length) for length in lengths])
    marker = data[-1]
    width, count = (marker >> 3 & 3) + 1, (marker & 7) + 1
    index = data[-2 - width * count :]
    assert marker >> 5 == 6
    assert index[0] == marker
    assert [int.from_bytes(index[1 + i * width :][:width], "little") for i in range(count)] == lengths
    assert len(data) == sum(lengths) + len(index)


def test_more_than_8_layer_frames_are_an_error() -> None:
    frame = clips.encoded("VP9")[1]
    depacketizer = vp9.depacketizer({})
    packets = packetize.packets([packetize.vp9_layers([frame] * 9, sids=[0] * 9, size=1 << 20)])[0]
    for packet in packets[:-1]:
        depacketizer.push(packet)
    with pytest.raises(PayloadError, match="8"):
        ended(depacketizer, packets[-1])


def test_before_the_first_key_frame_layers_are_joined_as_they_are() -> None:
    """Sizes of references are unknown, so a header that refers to them has no known end. Nothing decodes either."""
    inter = clips.encoded("VP9")[1]
    header = read_frame_header(inter, [(0, 0)] * 8)
    assert (header.width, header.height, header.end) == (0, 0, 0)
    assert recorded([[(0, inter), (1, inter)]])[0].data == superframe([inter, inter])


def test_layers_of_one_size_stay_shown_both() -> None:
    """A hidden frame would give no motion vectors to the one after it."""
    frame = clips.encoded("VP9")[0]
    inter = clips.encoded("VP9")[1]
    data = recorded([[(0, frame), (1, inter)]])[0].data
    assert data == superframe([frame, inter])


def test_four_bytes_tell_that_a_frame_has_the_size_of_its_first_reference() -> None:
    """As the whole header does, for every frame of a real encoder; never for a key frame."""
    sizes: Sizes = [(0, 0)] * 8
    for data in clips.encoded("VP9"):
        header = read_frame_header(data, sizes)
        assert is_as_large_as_its_reference(data) == (not header.is_keyframe)
        sizes = [(header.width, header.height)] * 8


SHORT_OR_OTHER = (b"\x86", b"\x86\xff\xff", b"\x8e" + b"\xff" * 3, b"\xb6" + b"\xff" * 3, b"\x84" + b"\xff" * 3)
"""Cut short, twice; one that shows a frame again; of profile 3; not shown."""


@pytest.mark.parametrize("data", SHORT_OR_OTHER)
def test_a_header_that_is_short_or_other_says_nothing_of_its_size(data: bytes) -> None:
    """It is read as a whole then, or refused."""
    assert not is_as_large_as_its_reference(data)
