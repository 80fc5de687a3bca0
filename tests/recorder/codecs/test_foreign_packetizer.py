"""FFmpeg's RTP muxer as the sender: it and we read the same specifications without knowing each other."""

from fractions import Fraction

import av
import pytest

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import RtpPacket
from tests.recorder.codecs import clips, packetize
from tests.recorder.codecs.feed import fed

RTCP_SENDER_REPORT = 200


class Datagrams(list[bytes]):
    """A file whose writes are kept apart."""

    def write(self, data: bytes) -> int:
        """Keep one datagram."""
        self.append(bytes(data))
        return len(data)


def sent(name: str) -> list[RtpPacket]:
    datagrams = Datagrams()
    options = {"packetsize": "1200", "strict": "experimental"}
    with av.open(datagrams, "w", format="rtp", options=options) as container:
        stream = container.add_mux_stream(name.lower(), width=320, height=180)
        for i, unit in enumerate(clips.encoded(name)):
            packet = av.Packet(unit)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 30)
            packet.is_keyframe = i in {0, 12}
            container.mux(packet)
    return [
        RtpPacket(
            payload_type=data[1] & 0x7F,
            marker=bool(data[1] & 0x80),
            sequence=i,
            timestamp=int.from_bytes(data[4:8], "big"),
            ssrc=1,
            payload=data[12:],
            arrival_ns=0,
        )
        for i, data in enumerate(datagrams)
        if data[1] != RTCP_SENDER_REPORT
    ]


@pytest.mark.parametrize("name", ["VP8", "VP9", "AV1", "H264"])
def test_what_ffmpeg_packetized_is_returned_as_it_was_encoded(name: str) -> None:
    depacketizer = CODECS[name].depacketizer({})
    out = fed(depacketizer, sent(name), flush=False)
    assert depacketizer.dropped_units == 0
    expected = list(clips.encoded(name))
    if name == "AV1":
        expected = [b"".join(obu for obu in packetize.obus(unit) if obu[0] >> 3 != 2) for unit in expected]
    if name == "H264":
        expected = [b"".join(b"\x00\x00\x00\x01" + nal for nal in packetize.nal_units(unit)) for unit in expected]
    assert [unit.data for unit in out] == expected
    assert [(i, u.width, u.height) for i, u in enumerate(out) if u.is_keyframe] == [(0, 320, 180), (12, 320, 180)]
