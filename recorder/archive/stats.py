"""The `stats` of an archive's documents. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from rokuga.recorder.media import Kind

EMPTY: Final[Mapping[str, Any]] = {}


def archive_stats(counters: Mapping[Kind, Mapping[str, Any]], stored: Mapping[str, int] = EMPTY) -> dict[str, Any]:
    """Return `stats`: all counters by kind, and flat members for those that Sora has a name for.

    `stored` is what a file contains, see FinishedFile.
    """
    audio, video = counters.get("audio", EMPTY), counters.get("video", EMPTY)
    named = {
        "total_audio_empty_payload": audio.get("padding_packets"),
        "total_audio_sender_report": audio.get("sender_reports"),
        "total_video_sender_report": video.get("sender_reports"),
        "total_pli_trigger": video.get("plis"),
        "total_stored_audio_packet": stored.get("audio"),
        "total_stored_video_packet": _stored_packets(video) if "video" in stored else None,
        "total_stored_video_keyframe_head": stored.get("keyframe"),
        "total_video_frame": stored.get("video"),
    }
    stats: dict[str, Any] = {str(kind): of_kind for kind, of_kind in counters.items()}
    stats.update((name, value) for name, value in named.items() if value is not None)
    return stats


def _stored_packets(counters: Mapping[str, int]) -> int:
    """Return the RTP packets that are in pictures: those received, without padding, duplicates and late ones."""
    useless = ("padding_packets", "duplicate_packets", "late_packets")
    return max(counters.get("received_packets", 0) - sum(counters.get(name, 0) for name in useless), 0)
