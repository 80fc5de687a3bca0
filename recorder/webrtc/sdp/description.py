"""A parsed session description. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_PAYLOAD_TYPE: Final = re.compile(r"[0-9]{1,10}")


@dataclass(slots=True)
class RtpCodec:
    """The `rtpmap` of one payload type."""

    payload_type: int
    encoding: str
    clock_rate_hz: int


@dataclass(slots=True)
class TransportParameters:
    """ICE and DTLS parameters of a section, or else of the session. Empty where they are missing."""

    ice_ufrag: str = ""
    ice_password: str = ""
    setup: str = ""
    fingerprints: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """One m-section.

    `formats` are the payload types in the order of the m-line, each once; empty for other kinds than audio and video.
    `codecs` and `parameters` (of `fmtp`) are by payload type. `feedback` has the values of `rtcp-fb` by payload type,
    those for all under None. `sources` are SSRCs in order; `repairs` maps the SSRC of RTX to the repaired one.
    `extensions` are ids and URIs of header extensions, `candidates` the values of `a=candidate`.
    """

    kind: str
    port: int
    protocol: str
    formats: Sequence[int] = ()
    mid: str = ""
    direction: str = "sendrecv"
    transport: TransportParameters = field(default_factory=TransportParameters)
    flags: set[str] = field(default_factory=set)
    codecs: dict[int, RtpCodec] = field(default_factory=dict)
    parameters: dict[int, Mapping[str, str]] = field(default_factory=dict)
    feedback: dict[int | None, list[str]] = field(default_factory=dict)
    sources: dict[int, None] = field(default_factory=dict)
    repairs: dict[int, int] = field(default_factory=dict)
    extensions: list[tuple[int, str]] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)

    @property
    def is_in_use(self) -> bool:
        """Whether it is not rejected: port 0 rejects, unless the section is bundle-only (RFC 9143 section 6)."""
        return bool(self.port) or "bundle-only" in self.flags

    def parameters_of(self, payload_type: int) -> Mapping[str, str]:
        """Return the `fmtp` parameters of a payload type."""
        return self.parameters.get(payload_type, {})

    def feedback_of(self, payload_type: int) -> Sequence[str]:
        """Return the values of `rtcp-fb` for a payload type."""
        return [*self.feedback.get(payload_type, ()), *self.feedback.get(None, ())]

    def retransmissions(self) -> Mapping[int, int]:
        """Return the RTX payload type of each payload type that has one (RFC 4588 section 8.6)."""
        found: dict[int, int] = {}
        for codec in self.codecs.values():
            repaired = self.parameters_of(codec.payload_type).get("apt", "")
            if codec.encoding.lower() == "rtx" and _PAYLOAD_TYPE.fullmatch(repaired):
                found.setdefault(int(repaired), codec.payload_type)
        return found


@dataclass(slots=True)
class SessionDescription:
    """A session description. `bundled` are the mids of all BUNDLE groups."""

    sections: list[Section] = field(default_factory=list)
    bundled: set[str] = field(default_factory=set)
    is_ice_lite: bool = False
