"""Whatever comes from outside: every row gives a value or PayloadError, and counts what it dropped."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.codecs import av1, h264, opus, vp8, vp9, vp9_frame
from rokuga.recorder.codecs.av1_obu import read_sequence_header
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.h264_sps import read_size
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import RtpPacket
from tests.recorder.codecs import clips, packetize

STEPS = st.lists(
    st.one_of(
        st.builds(
            RtpPacket,
            payload_type=st.just(96),
            marker=st.booleans(),
            sequence=st.just(0),
            timestamp=st.integers(0, 3).map(lambda n: n * 3000),
            ssrc=st.just(1),
            payload=st.binary(max_size=40),
            arrival_ns=st.just(0),
        ),
        st.integers(1, 3),
    ),
    max_size=30,
)
PACKETIZERS: dict[str, Callable[[bytes], list[bytes]]] = {
    "VP8": packetize.vp8,
    "VP9": packetize.vp9,
    "AV1": packetize.av1,
    "H264": lambda unit: packetize.h264(packetize.nal_units(unit)),
}
CLIPS = {name: clips.encoded(name)[:4] for name in PACKETIZERS}


def run(name: str, steps: list[RtpPacket | int]) -> None:
    depacketizer = CODECS[name].depacketizer({})
    dropped = 0
    for step in steps:
        try:
            if isinstance(step, int):
                depacketizer.lost(step)
            else:
                unit = depacketizer.push(step)
                assert unit is None or unit.data
        except PayloadError:
            assert depacketizer.dropped_units
        assert depacketizer.dropped_units >= dropped
        dropped = depacketizer.dropped_units
    depacketizer.flush()


@pytest.mark.parametrize("name", list(CODECS))
@given(steps=STEPS)
@settings(max_examples=150)
def test_any_packets_in_any_order_give_units_or_payload_error(name: str, steps: list[RtpPacket | int]) -> None:
    run(name, steps)


@pytest.mark.parametrize("name", list(PACKETIZERS))
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=60)
def test_real_packets_with_bytes_changed_and_cut_give_units_or_payload_error(name: str, seed: int) -> None:
    random = Random(seed)
    units = packetize.packets([PACKETIZERS[name](unit) for unit in CLIPS[name]])
    packets = [packet for unit in units for packet in unit]
    for packet in random.sample(packets, random.randint(1, len(packets))):
        payload = bytearray(packet.payload)
        payload[random.randrange(min(30, len(payload)))] = random.randrange(256)
        packet.payload = bytes(payload[: random.choice((len(payload), 1, 3, 20))])
    run(name, list(packets))


@given(data=st.binary(max_size=80))
@settings(max_examples=400)
def test_any_bytes_in_any_parser_give_a_value_or_payload_error(data: bytes) -> None:
    sizes = [(640, 360)] * 8
    parsers: tuple[Callable[[bytes], object], ...] = (
        vp8.parse_payload,
        vp9.parse_payload,
        av1.parse_payload,
        h264.parse_payload,
        opus.packet_duration_ns,
        av1.configuration_record,
        read_sequence_header,
        read_size,
        lambda payload: vp9_frame.read_frame_header(payload, sizes),
        lambda payload: h264.parameter_sets({"sprop-parameter-sets": payload.decode("latin-1")}),
        lambda payload: h264.depacketizer({"sprop-parameter-sets": payload.decode("latin-1")}),
    )
    for parse in parsers:
        try:
            parse(data)
        except PayloadError:
            continue
