"""A simulated publisher of audio and video, over a lossy network to the receiver and back."""

from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count, pairwise
from random import Random

import pytest

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.rtp.rtcp import KeyframeRequest, Nack, RtcpMessage, parse_rtcp
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia
from tests.recorder.call import opus, vp8

VP8, OPUS = CODECS["VP8"], CODECS["OPUS"]
AUDIO, VIDEO, LOW = 4, 3, 5
RTX_OF = {VIDEO: 30, LOW: 50}
STEP_NS = 5 * NS_PER_MS
TICK_NS = 20 * NS_PER_MS


@dataclass
class Layer:
    """A video stream from `begin_ns` to `end_ns`; `keyframe_ns` is when its next key frame is due."""

    ssrc: int
    begin_ns: int = 0
    end_ns: int = 1 << 62
    keyframe_delay_ns: int = 0
    keyframe_ns: int | None = 0
    sequence: int = 65_500


@dataclass
class LossyPublisher:
    """Sends Opus and the layers' VP8; answers NACK (by RTX for video, by repetition for audio) and PLI."""

    layers: list[Layer]
    loss: float = 0.0
    round_trip_ns: int = 60 * NS_PER_MS
    has_fid: bool = True
    received: list[tuple[int, Kind, AccessUnit | None]] = field(default_factory=list)
    feedback: list[tuple[int, RtcpMessage]] = field(default_factory=list)
    now_ns: int = 0
    frames: int = 0
    sounds: int = 0

    def __post_init__(self) -> None:
        self._random = Random(1)
        self._in_flight: list[tuple[int, int, bool, bytes]] = []
        self._order = count()
        self._rtx_sequence = count(65_500)
        self._sent: dict[tuple[int, int], RtpPacket] = {}
        media: dict[Kind, AnsweredMedia] = {
            "audio": AnsweredMedia(OPUS, OPUS.payload_type, {}, None, (AUDIO,), {}, nack=True),
            "video": AnsweredMedia(
                VP8,
                VP8.payload_type,
                {},
                VP8.rtx_payload_type,
                (),
                {rtx: ssrc for ssrc, rtx in RTX_OF.items()} if self.has_fid else {},
                nack=True,
            ),
        }
        self.receiver = Receiver(
            media,
            self,
            own_ssrc=0,
            remb_bps=1_000_000,
        )

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Record a unit."""
        self.received.append((self.now_ns, kind, unit))

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Ignore a sender report."""

    def source_changed(self, kind: Kind) -> None:
        """Record a change of source."""
        self.received.append((self.now_ns, kind, None))

    def run(self, seconds: int) -> None:
        """Send for some seconds, repair for 2 s more."""
        end_ns = seconds * NS_PER_S
        while self.now_ns < end_ns + 2 * NS_PER_S:
            if self.now_ns < end_ns:
                self._send_audio()
                self._send_video()
            while self._in_flight and self._in_flight[0][0] <= self.now_ns:
                _, _, is_feedback, data = heappop(self._in_flight)
                if is_feedback:
                    self._answer(data)
                else:
                    self.receiver.rtp(data, self.now_ns)
            if self.now_ns % TICK_NS == 0:
                data = self.receiver.tick(self.now_ns)
                self.feedback += ((self.now_ns, message) for message in parse_rtcp(data))
                if data:
                    self._deliver(data, is_feedback=True)
            self.now_ns += STEP_NS
        self.receiver.flush(self.now_ns)

    def units(self, kind: Kind) -> list[AccessUnit]:
        """Return the units of a kind."""
        return [unit for _, received_kind, unit in self.received if received_kind == kind and unit is not None]

    def _send_audio(self) -> None:
        if self.now_ns % (20 * NS_PER_MS) == 0:
            sequence = 65_500 + self.sounds
            self._send(RtpPacket(OPUS.payload_type, False, sequence, self.sounds * 960, AUDIO, opus(self.sounds), 0))
            self.sounds += 1

    def _send_video(self) -> None:
        if self.now_ns % (35 * NS_PER_MS):
            return
        for layer in self.layers:
            if not layer.begin_ns <= self.now_ns < layer.end_ns:
                continue
            is_keyframe = layer.keyframe_ns is not None and layer.keyframe_ns <= self.now_ns
            if is_keyframe:
                layer.keyframe_ns = None
            payloads = vp8(self.frames, is_keyframe=is_keyframe, packets=12 if is_keyframe else 4)
            for place, payload in enumerate(payloads, 1):
                marker = place == len(payloads)
                timestamp = self.frames * 3150 + layer.ssrc * 1_000_000
                self._send(RtpPacket(VP8.payload_type, marker, layer.sequence, timestamp, layer.ssrc, payload, 0))
                layer.sequence += 1
        self.frames += 1

    def _send(self, packet: RtpPacket) -> None:
        self._sent[packet.ssrc, packet.sequence & 0xFFFF] = packet
        self._deliver(build_rtp(packet))

    def _deliver(self, data: bytes, *, is_feedback: bool = False) -> None:
        if self._random.random() >= self.loss:
            heappush(self._in_flight, (self.now_ns + self.round_trip_ns // 2, next(self._order), is_feedback, data))

    def _answer(self, data: bytes) -> None:
        for message in parse_rtcp(data):
            if isinstance(message, KeyframeRequest):
                for layer in self.layers:
                    if layer.ssrc == message.media_ssrc and layer.keyframe_ns is None:
                        layer.keyframe_ns = self.now_ns + layer.keyframe_delay_ns
            elif isinstance(message, Nack):
                for sequence in message.sequences:
                    self._repair(self._sent[message.media_ssrc, sequence])

    def _repair(self, packet: RtpPacket) -> None:
        rtx_ssrc = RTX_OF.get(packet.ssrc)
        if rtx_ssrc is not None:
            payload = (packet.sequence & 0xFFFF).to_bytes(2, "big") + packet.payload
            sequence = next(self._rtx_sequence)
            packet = replace(
                packet, payload_type=VP8.rtx_payload_type, sequence=sequence, ssrc=rtx_ssrc, payload=payload
            )
        self._deliver(build_rtp(packet))


@pytest.mark.parametrize("has_fid", [True, False])
@pytest.mark.parametrize(("loss", "least"), [(0.0, 1.0), (0.02, 1.0), (0.10, 0.99)])
def test_lost_pictures_and_sounds_are_repaired(loss: float, least: float, has_fid: bool) -> None:
    """Media, repairs and feedback are lost alike. A loss before the first packet cannot be noticed."""
    publisher = LossyPublisher([Layer(VIDEO)], loss=loss, has_fid=has_fid)
    publisher.run(20)
    assert len(publisher.units("video")) >= (publisher.frames - 1 if least == 1.0 else publisher.frames * least)
    assert len(publisher.units("audio")) >= (publisher.sounds - 1 if least == 1.0 else publisher.sounds * least)
    steps = {after.rtp_time - before.rtp_time for before, after in pairwise(publisher.units("video"))}
    assert steps == {3150}, "between the first one and the last one, none is missing"
    assert all(before.rtp_time < after.rtp_time for before, after in pairwise(publisher.units("audio")))
    nacked = {message.media_ssrc for _, message in publisher.feedback if isinstance(message, Nack)}
    assert nacked == ({AUDIO, VIDEO} if loss else set())


def test_when_the_high_layer_stops_the_low_one_replaces_it_with_a_requested_key_frame() -> None:
    """Two SSRCs; at 8 s the high one stops. The low one's key frame arrives 700 ms after the PLI."""
    stop_ns = 8 * NS_PER_S
    high = Layer(VIDEO, end_ns=stop_ns)
    low = Layer(LOW, keyframe_delay_ns=700 * NS_PER_MS)
    publisher = LossyPublisher([high, low])
    publisher.run(12)
    video = [(at_ns, unit) for at_ns, kind, unit in publisher.received if kind == "video"]
    (place,) = [place for place, (_, unit) in enumerate(video) if unit is None]
    last, first = video[place - 1][1], video[place + 1][1]
    assert last is not None
    assert first is not None
    before_ns, after_ns = last.arrival_ns, first.arrival_ns
    assert first.is_keyframe
    assert before_ns <= stop_ns + 30 * NS_PER_MS
    assert after_ns - before_ns <= NS_PER_S
    requested = [
        message.media_ssrc
        for at_ns, message in publisher.feedback
        if isinstance(message, KeyframeRequest) and at_ns > stop_ns
    ]
    assert set(requested) <= {LOW}
    assert requested
    assert len(video) - 1 >= publisher.frames - NS_PER_S // (35 * NS_PER_MS)


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_new_track_replaces_the_old_one_at_its_first_key_frame_and_is_repaired(loss: float) -> None:
    change_ns = 5 * NS_PER_S + 5 * NS_PER_MS
    publisher = LossyPublisher(
        [Layer(VIDEO, end_ns=change_ns), Layer(LOW, begin_ns=change_ns, sequence=7)], loss=loss, has_fid=False
    )
    publisher.run(10)
    assert [kind for _, kind, unit in publisher.received if unit is None] == ["video"]
    assert len(publisher.units("video")) >= publisher.frames * 0.99


def test_audio_continues_while_video_has_no_key_frame_or_begins_later() -> None:
    never = LossyPublisher([Layer(VIDEO, keyframe_ns=None, keyframe_delay_ns=1 << 62)])
    never.run(8)
    assert not never.units("video")
    assert len(never.units("audio")) == never.sounds == 400
    later = LossyPublisher([Layer(VIDEO, begin_ns=6 * NS_PER_S)])
    later.run(8)
    assert later.units("video")[0].is_keyframe
    assert len(later.units("audio")) == 400
    first_ns = later.units("video")[0].arrival_ns
    assert abs(first_ns - 6 * NS_PER_S - 30 * NS_PER_MS) <= 40 * NS_PER_MS
