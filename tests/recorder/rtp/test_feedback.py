"""When to ask for packets and for key frames."""

from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.rtp.feedback import KEYFRAME_RETRY_NS, MAX_TRIES, RETRY_NS, KeyframeRequests, select_nacks
from rokuga.recorder.rtp.reorder import Missing
from rokuga.recorder.rtp.rtcp import MAX_NACKED


def test_a_missing_packet_is_requested_when_it_is_due_and_at_intervals() -> None:
    missing = {5: Missing(0, 10)}
    assert select_nacks(missing, 9) == []
    assert select_nacks(missing, 10) == [5]
    assert select_nacks(missing, 9 + RETRY_NS) == []
    assert select_nacks(missing, 10 + RETRY_NS) == [5]
    assert missing[5].tries == 2


def test_a_missing_packet_is_requested_a_limited_number_of_times() -> None:
    missing = {5: Missing(0, 0)}
    asked = sum(len(select_nacks(missing, tick * 20 * NS_PER_MS)) for tick in range(1000))
    assert asked == MAX_TRIES


def test_pauses_grow_and_end_well_within_the_window_of_video() -> None:
    """The last request must have time to be answered before the packet is given up, 1 s after it went missing."""
    missing = {5: Missing(0, 0)}
    asked_ms = [time_ms for time_ms in range(2000) if select_nacks(missing, time_ms * NS_PER_MS)]
    assert asked_ms == [0, 60, 120, 240, 360, 600]


def test_many_missing_packets_are_requested_in_turn_the_oldest_first() -> None:
    missing = {sequence: Missing(0, 0) for sequence in range(2 * MAX_NACKED + 1)}
    due = [select_nacks(missing, 0) for _ in range(4)]
    assert due == [
        list(range(MAX_NACKED)),
        list(range(MAX_NACKED, 2 * MAX_NACKED)),
        [2 * MAX_NACKED],
        [],
    ]


def test_no_key_frame_is_requested_without_need() -> None:
    assert not KeyframeRequests().is_due(10**18)


def test_a_key_frame_is_requested_at_once_and_again_until_it_comes() -> None:
    requests = KeyframeRequests()
    requests.request(7)
    assert requests.is_due(7)
    assert not requests.is_due(7), "one is in flight"
    assert not requests.is_due(6 + KEYFRAME_RETRY_NS)
    assert requests.is_due(7 + KEYFRAME_RETRY_NS)
    requests.keyframe_received()
    assert not requests.is_due(7 + 9 * KEYFRAME_RETRY_NS)


def test_to_want_more_does_not_ask_more() -> None:
    requests = KeyframeRequests()
    asked = 0
    for ms in range(2000):
        requests.request(ms * NS_PER_MS)
        asked += requests.is_due(ms * NS_PER_MS)
    assert asked == 4, "2 s"


def test_a_loss_right_after_a_key_frame_waits_for_the_pause_between_requests() -> None:
    requests = KeyframeRequests()
    requests.request(0)
    assert requests.is_due(0)
    requests.keyframe_received()
    requests.request(100 * NS_PER_MS)
    assert not requests.is_due(100 * NS_PER_MS)
    assert requests.is_due(KEYFRAME_RETRY_NS)


def test_requests_of_one_moment_are_spread() -> None:
    at_ns = 10**12
    sources = [KeyframeRequests(spread_ns=number * NS_PER_MS) for number in range(100)]
    for source in sources:
        source.request(at_ns, spread=True)
    asked = [sum(source.is_due(at_ns + tick * 20 * NS_PER_MS) for source in sources) for tick in range(7)]
    assert asked == [1, 20, 20, 20, 20, 19, 0]


def test_a_loss_is_not_spread() -> None:
    requests = KeyframeRequests(spread_ns=100 * NS_PER_MS)
    requests.request(5)
    assert requests.is_due(5)


def test_a_key_frame_that_comes_by_itself_before_the_spread_ends_is_not_requested() -> None:
    requests = KeyframeRequests(spread_ns=100 * NS_PER_MS)
    requests.request(0, spread=True)
    requests.keyframe_received()
    assert not requests.is_due(200 * NS_PER_MS)
