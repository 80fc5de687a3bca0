"""VP9 payload descriptors (RFC 9628 section 4.2)."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.codecs import vp9
from rokuga.recorder.codecs.depacketizer import PayloadError
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.feed import ended, fed, packet


def structure(layers: int, sizes: bool, pictures: Sequence[int] | None) -> bytes:
    """N_S, Y, G, then sizes, then one entry of R references for each picture."""
    out = bytes((layers - 1 << 5 | sizes << 4 | (pictures is not None) << 3,))
    if sizes:
        out += b"".join((320 << i).to_bytes(2, "big") + (180 << i).to_bytes(2, "big") for i in range(layers))
    if pictures is not None:
        out += bytes((len(pictures),))
        out += b"".join(bytes((0x10 | references << 2,)) + bytes(range(1, references + 1)) for references in pictures)
    return out


def descriptor(
    picture_id: bytes, layer: int | None, flexible: bool, diffs: Sequence[int], scalability: bytes, begin: int = 0x0C
) -> bytes:
    """`diffs` are P_DIFF of the references, empty for P = 0 (or for non-flexible mode with P = 1: give [0])."""
    head = begin | (0x80 if picture_id else 0) | (0x40 if diffs else 0) | (0x20 if layer is not None else 0)
    head |= (0x10 if flexible else 0) | (0x02 if scalability else 0)
    out = bytes((head,)) + picture_id
    if layer is not None:
        out += bytes((layer,)) if flexible else bytes((layer, 77))
    if flexible:
        out += bytes(diff << 1 | (i < len(diffs) - 1) for i, diff in enumerate(diffs))
    return out + scalability


SCALABILITY = st.one_of(
    st.just(b""),
    st.builds(
        structure,
        st.integers(1, 8),
        st.booleans(),
        st.one_of(st.none(), st.lists(st.integers(0, 3), max_size=6)),
    ),
)
PICTURE_IDS = st.one_of(
    st.just(b""),
    st.integers(0, 127).map(lambda n: bytes((n,))),
    st.integers(0, 32767).map(lambda n: bytes((0x80 | n >> 8, n & 255))),
)
DESCRIPTORS = st.builds(
    descriptor,
    PICTURE_IDS,
    st.one_of(st.none(), st.integers(0, 255)),
    st.booleans(),
    st.lists(st.integers(1, 127), max_size=3),
    SCALABILITY,
    st.sampled_from([0, 4, 8, 12]),
)


@given(head=DESCRIPTORS, data=st.binary(min_size=1, max_size=20))
def test_what_follows_any_descriptor_is_the_frame(head: bytes, data: bytes) -> None:
    """Every form there is."""
    assert vp9.parse_payload(head + data)[1] == data


@given(head=DESCRIPTORS)
def test_a_descriptor_cut_at_any_byte_is_an_error(head: bytes) -> None:
    """Each descriptor, cut at each byte."""
    for length in range(len(head) + 1):
        with pytest.raises(PayloadError):
            vp9.parse_payload(head[:length])


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("sizes", [False, True])
@pytest.mark.parametrize("pictures", [None, [], [0, 1, 2], [3, 2, 1, 0]])
def test_the_scalability_structure_is_as_long_as_its_counts_say(
    layers: int, sizes: bool, pictures: list[int] | None
) -> None:
    """N_S = 0 and 2, Y, G, N_G = 0, 3, 4 with R = 0..3, as a table."""
    scalability = structure(layers, sizes, pictures)
    head = descriptor(b"\x81\x23", 0, False, [], scalability)
    assert vp9.parse_payload(head + b"frame")[1] == b"frame"
    assert len(scalability) == 1 + 4 * layers * sizes + (0 if pictures is None else 1 + len(pictures) + sum(pictures))


def test_the_first_byte_that_libwebrtc_sends_is_read_as_it_is() -> None:
    """I, F, B, V, Z and a 15-bit picture id, one layer of 640x360."""
    head = b"\x9b\x80\x01\x18\x02\x80\x01\x68\x01\x04\x01"
    assert vp9.parse_payload(head + b"frame")[1] == b"frame"


def test_more_than_3_references_are_an_error() -> None:
    with pytest.raises(PayloadError, match="3 reference"):
        vp9.parse_payload(descriptor(b"", None, True, [1, 2, 3, 4], b"") + b"frame")


def test_key_frames_are_those_of_the_frame_header_not_of_the_p_bit() -> None:
    """A descriptor that says P = 0 on every picture makes no key frame, P = 1 hides none."""
    clip = clips.encoded("VP9")
    for lie in (b"\x0c", b"\x4c"):
        out = fed(vp9.depacketizer({}), [packet(lie + unit, i, marker=True) for i, unit in enumerate(clip)])
        assert [i for i, unit in enumerate(out) if unit.is_keyframe] == [0, 12]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00frame",  # no frame marker
        b"\xb8frame",  # profile 3 with its reserved bit
        b"\x82\x49\x83\x41" + bytes(9),  # a key frame with a wrong sync code
        b"\x82\x49\x83",  # a key frame that ends there
    ],
)
def test_a_frame_that_is_none_is_an_error(frame: bytes) -> None:
    with pytest.raises(PayloadError):
        ended(vp9.depacketizer({}), packet(b"\x0c" + frame, marker=True))


def test_a_marker_within_a_layer_frame_is_an_error() -> None:
    with pytest.raises(PayloadError, match="fragment"):
        ended(vp9.depacketizer({}), packet(b"\x08" + clips.encoded("VP9")[0], marker=True))


def test_packets_of_20_bytes_of_padding_less_than_they_had_are_joined() -> None:
    unit = clips.encoded("VP9")[1]
    parts = packetize.vp9(unit, size=1)
    out = fed(vp9.depacketizer({}), packetize.packets([parts])[0])
    assert [found.data for found in out] == [unit]
