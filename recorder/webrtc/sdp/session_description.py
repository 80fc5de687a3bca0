"""Parses session descriptions of peers: any text gives a `SessionDescription` or raises SdpError. Pure.

RFC 8866 (SDP), RFC 8839 (ICE), RFC 8122 (fingerprints), RFC 4585 (feedback), RFC 5576 (sources), RFC 9143 (BUNDLE).
Time and memory are linear in the length of the text: whatever may be repeated has a limit, and no line is compared
with other lines. Lines that are not needed are ignored, valid or not.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rokuga.recorder.webrtc.sdp.description import RtpCodec, Section, SessionDescription, TransportParameters
from rokuga.recorder.webrtc.sdp.offer_and_answer import SdpError

MAX_SDP_CHARACTERS: Final = 256 * 1024
"""Browsers send 3 to 10 kB."""
MAX_LINES: Final = 4096
MAX_LINE_CHARACTERS: Final = 8192
"""The longest real lines are parameter sets of H.264, below 1 kB."""
MAX_SECTIONS: Final = 32
MAX_PAYLOAD_TYPES: Final = 128
"""Payload types of a section: all that exist (RFC 3551 section 6)."""
MAX_FEEDBACK: Final = 32
"""`rtcp-fb` lines of one payload type. Chromium has 5."""
MAX_PARAMETERS: Final = 64
"""Parameters in one `fmtp` line."""
MAX_SOURCES: Final = 128
"""Different SSRCs of a section, and FID groups of a section."""
MAX_EXTENSIONS: Final = 64
MAX_FINGERPRINTS: Final = 16
MAX_CANDIDATES: Final = 256
MAX_CREDENTIAL_CHARACTERS: Final = 256
"""`ice-ufrag` and `ice-pwd` (RFC 8839 section 5.4)."""

_MEDIA_LINE: Final = re.compile(r"m=([^ ]+) ([0-9]{1,5}) ([A-Z/]+) (.+)")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_SETUPS: Final = frozenset({"actpass", "active", "passive"})
_RTCP_PACKET_TYPES: Final = range(72, 77)
"""Payload types that cannot be distinguished from RTCP on one port (RFC 3551 section 6)."""


class SdpLimitError(SdpError):
    """The description exceeds a limit, which the text names."""


def parse_description(text: str, what: str) -> SessionDescription:
    """Parse an SDP text; `what` names it in errors ("offer", "answer"). Raises SdpError, of limits SdpLimitError."""
    if len(text) > MAX_SDP_CHARACTERS:
        raise SdpLimitError(f"the {what} is too long: {len(text)} characters, at most {MAX_SDP_CHARACTERS}")
    try:
        return _parse(text.splitlines())
    except _LimitError as error:
        raise SdpLimitError(f"the {what} has more than {error}") from error
    except _LineError as error:
        raise SdpError(f"the {what} cannot be read: {error}") from error


class _LineError(ValueError):
    """A line cannot be parsed."""


class _LimitError(ValueError):
    """A limit is exceeded."""


def _parse(lines: Sequence[str]) -> SessionDescription:
    _check_limit(len(lines) - 1, MAX_LINES, "lines")
    description = SessionDescription()
    session = section = Section("", 0, "")  # the attributes before the first m-line, which apply to all sections
    for line in lines:
        _check_limit(len(line) - 1, MAX_LINE_CHARACTERS, "characters in a line")
        if line.startswith("m="):
            _check_limit(len(description.sections), MAX_SECTIONS, "m-lines")
            section = _section(line, session)
            description.sections.append(section)
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if name == "group" and section is session:
                _add_bundle(description, value)
            elif name in _ATTRIBUTES:
                _ATTRIBUTES[name](section, name, value)
    description.is_ice_lite = "ice-lite" in session.flags
    return description


def _section(line: str, session: Section) -> Section:
    match = _MEDIA_LINE.fullmatch(line)
    if match is None:
        raise _LineError(f"{_shown(line)} is no m-line")
    kind, port, protocol, formats = match.groups()
    common = session.transport
    return Section(
        kind=kind,
        port=int(port),
        protocol=protocol,
        formats=_formats(formats) if kind in {"audio", "video"} else (),
        direction=session.direction,
        transport=TransportParameters(common.ice_ufrag, common.ice_password, common.setup, list(common.fingerprints)),
        flags=set(session.flags),
        extensions=list(session.extensions),
    )


def _formats(text: str) -> Sequence[int]:
    words = text.split(maxsplit=MAX_PAYLOAD_TYPES)
    _check_limit(len(words) - 1, MAX_PAYLOAD_TYPES, "payload types in an m-line")
    numbers = tuple(dict.fromkeys(_number(word) for word in words))
    for number in numbers:
        if number > 255 or number in _RTCP_PACKET_TYPES:
            raise _LineError(f"{number} is no payload type")
    return numbers


def _number(text: str) -> int:
    """Parse a number of ten digits at most: SSRCs have no more."""
    if _NUMBER.fullmatch(text) is None:
        raise _LineError(f"{_shown(text)} is no number")
    return int(text)


def _shown(text: str) -> str:
    return repr(text[:32])


def _check_limit(have: int, most: int, name: str) -> None:
    """Check that one more is allowed. Raises _LimitError."""
    if have >= most:
        raise _LimitError(f"{most} {name}")


def _add_bundle(description: SessionDescription, value: str) -> None:
    semantics, _, mids = value.partition(" ")
    if semantics == "BUNDLE":
        words = mids.split(maxsplit=MAX_SECTIONS)
        _check_limit(len(description.bundled) + len(words) - 1, 2 * MAX_SECTIONS, "mids in BUNDLE groups")
        description.bundled.update(words)


def _flag(section: Section, name: str, _value: str) -> None:
    section.flags.add(name)


def _direction(section: Section, name: str, _value: str) -> None:
    section.direction = name


def _mid(section: Section, _name: str, value: str) -> None:
    section.mid = value


def _credential(section: Section, name: str, value: str) -> None:
    _check_limit(len(value) - 1, MAX_CREDENTIAL_CHARACTERS, f"characters in {name}")
    if name == "ice-ufrag":
        section.transport.ice_ufrag = value
    else:
        section.transport.ice_password = value


def _setup(section: Section, _name: str, value: str) -> None:
    if value not in _SETUPS:
        raise _LineError(f"{_shown(value)} is no setup")
    section.transport.setup = value


def _fingerprint(section: Section, _name: str, value: str) -> None:
    _check_limit(len(section.transport.fingerprints), MAX_FINGERPRINTS, "fingerprints in a section")
    words = value.split()
    if len(words) != 2:
        raise _LineError(f"{_shown(value)} is no fingerprint")
    section.transport.fingerprints.append((words[0].lower(), words[1]))


def _rtpmap(section: Section, _name: str, value: str) -> None:
    """Parse an `rtpmap` (RFC 8866 section 6.6). The first one of a payload type is used."""
    number, _, rest = value.partition(" ")
    encoding, slash, rate = rest.strip().partition("/")
    if not slash:
        raise _LineError(f"{_shown(value)} is no rtpmap")
    codec = RtpCodec(_number(number), encoding, _number(rate.partition("/")[0]))
    if codec.payload_type not in section.codecs:
        _check_limit(len(section.codecs), MAX_PAYLOAD_TYPES, "rtpmap lines in a section")
        section.codecs[codec.payload_type] = codec


def _fmtp(section: Section, _name: str, value: str) -> None:
    """Parse an `fmtp` (RFC 8866 section 6.15). Parameters without a value are ignored: no supported codec has any."""
    number, _, rest = value.partition(" ")
    payload_type = _number(number)
    if payload_type not in section.parameters:
        _check_limit(len(section.parameters), MAX_PAYLOAD_TYPES, "fmtp lines in a section")
    words = rest.split(";", MAX_PARAMETERS)
    _check_limit(len(words) - 1, MAX_PARAMETERS, "parameters in an fmtp line")
    pairs = [word.partition("=") for word in words]
    section.parameters[payload_type] = {key.strip(): each.strip() for key, equals, each in pairs if equals}


def _feedback(section: Section, _name: str, value: str) -> None:
    number, _, word = value.partition(" ")
    payload_type = None if number == "*" else _number(number)
    if payload_type not in section.feedback:
        _check_limit(len(section.feedback), MAX_PAYLOAD_TYPES + 1, "payload types with rtcp-fb lines")
    words = section.feedback.setdefault(payload_type, [])
    _check_limit(len(words), MAX_FEEDBACK, "rtcp-fb lines of a payload type")
    words.append(word.strip())


def _source(section: Section, _name: str, value: str) -> None:
    ssrc = _number(value.partition(" ")[0])
    if ssrc not in section.sources:
        _check_limit(len(section.sources), MAX_SOURCES, "SSRCs in a section")
        section.sources[ssrc] = None


def _source_group(section: Section, _name: str, value: str) -> None:
    """Parse an `ssrc-group` (RFC 5576 section 4.2): the second of FID repairs the first (RFC 4588 section 8.7)."""
    words = value.split(maxsplit=3)
    if len(words) == 3 and words[0] == "FID":
        _check_limit(len(section.repairs), MAX_SOURCES, "FID groups in a section")
        section.repairs[_number(words[2])] = _number(words[1])


def _extension(section: Section, _name: str, value: str) -> None:
    """Parse an `extmap` (RFC 8285 section 8). Other forms are ignored."""
    number, _, rest = value.partition(" ")
    plain = number.partition("/")[0]
    if _NUMBER.fullmatch(plain):
        _check_limit(len(section.extensions), MAX_EXTENSIONS, "header extensions in a section")
        section.extensions.append((int(plain), rest.partition(" ")[0]))


def _candidate(section: Section, _name: str, value: str) -> None:
    _check_limit(len(section.candidates), MAX_CANDIDATES, "candidates in a section")
    section.candidates.append(value)


_ATTRIBUTES: Final[Mapping[str, Callable[[Section, str, str], None]]] = {
    **dict.fromkeys(("rtcp-mux", "rtcp-rsize", "bundle-only", "ice-lite"), _flag),
    **dict.fromkeys(("sendrecv", "sendonly", "recvonly", "inactive"), _direction),
    **dict.fromkeys(("ice-ufrag", "ice-pwd"), _credential),
    "mid": _mid,
    "setup": _setup,
    "fingerprint": _fingerprint,
    "rtpmap": _rtpmap,
    "fmtp": _fmtp,
    "rtcp-fb": _feedback,
    "ssrc": _source,
    "ssrc-group": _source_group,
    "extmap": _extension,
    "candidate": _candidate,
}
