"""H.264 over RTP (RFC 6184), packetization modes 0 and 1, stored as Annex B with 4-byte start codes.

Readers of Sora's files expect Annex B. So every key frame contains the parameter sets that it refers to: those that
were not sent with it (but earlier in the stream, or in the SDP) are inserted before it.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

from rokuga.recorder.codecs.assembly import (
    AFTER_LOSS,
    FIRST,
    LAST,
    PICTURE,
    START,
    SURE_START,
    Picture,
    UnitAssembler,
)
from rokuga.recorder.codecs.bits import BitReader
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.h264_sps import read_size, read_sps_id, without_emulation_prevention
from rokuga.recorder.codecs.parameters import Fmtp, ParametersError, Params

_START_CODE: Final = b"\x00\x00\x00\x01"
_SLICE, _IDR, _SEI, _SPS, _PPS, _AUD = 1, 5, 6, 7, 8, 9
_BARE: Final = frozenset((10, 11))  # end of sequence, end of stream: nothing but their type
_STAP_A, _FU_A = 24, 28
_WHOLE: Final = FIRST | LAST | START
_MAX_PARAMETER_SET_BYTES: Final = 4096
_MAX_IDS: Final = 256
_PROFILE_LEVEL_ID: Final = re.compile("[0-9A-Fa-f]{6}")


def depacketizer(fmtp: Fmtp) -> UnitAssembler:
    """Return a new Depacketizer; `fmtp` may contain `sprop-parameter-sets` (RFC 6184 section 8.1)."""
    return UnitAssembler(parse_payload, AccessUnitAssembler(parameter_sets(fmtp)).assemble)


def format_parameters(params: Params) -> Fmtp:
    """Return the fmtp of an offer (RFC 6184 section 8.1). Raises ParametersError."""
    profile_level_id = params.get("profile_level_id", "42e01f")
    if not isinstance(profile_level_id, str) or not _PROFILE_LEVEL_ID.fullmatch(profile_level_id):
        raise ParametersError("profile_level_id is not of 6 hexadecimal digits")
    return {
        "level-asymmetry-allowed": "1",
        "packetization-mode": "1",
        "profile-level-id": profile_level_id.lower(),
    }


def accepts(fmtp: Fmtp) -> bool:
    """Return whether the packetization mode is one that can be read: interleaved packets (mode 2) cannot."""
    return fmtp.get("packetization-mode", "0") in {"0", "1"}


def parameter_sets(fmtp: Fmtp) -> list[bytes]:
    """Decode `sprop-parameter-sets`: NAL units in base64, separated by commas. Invalid ones are left out."""
    units = []
    for text in fmtp.get("sprop-parameter-sets", "").split(","):
        try:
            units.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            continue
    return [unit for unit in units if unit]


def parse_payload(payload: bytes) -> tuple[int, bytes]:
    """Return a payload's flags by its type (RFC 6184 section 5.2), and the payload; `assemble` splits it."""
    try:
        kind = payload[0] & 31
        if 0 < kind < _STAP_A:
            return (_WHOLE if kind in _BARE else _WHOLE | _beginning(kind, payload[1])), payload
        if kind == _FU_A:
            head, first_byte = payload[1], payload[2]
            flags = LAST if head & 0x40 else 0
            if head & 0x80:
                flags |= FIRST | START | _beginning(head & 31, first_byte)
            return flags, payload
        if kind == _STAP_A:
            return _WHOLE | _beginning(payload[3] & 31, payload[4] if len(payload) > 4 else 0), payload
    except IndexError:
        raise PayloadError("an H.264 payload without data") from None
    raise PayloadError(f"an H.264 payload of type {kind}, which packetization modes 0 and 1 do not have")


def _beginning(kind: int, first_byte: int) -> int:
    """Return the flags of what a NAL unit begins: an access unit, and with macroblock 0 a picture."""
    if kind in {_SLICE, _IDR}:
        return SURE_START | PICTURE if first_byte >= 0x80 else 0
    return SURE_START if kind in {_AUD, _SPS, _SEI} else 0


class AccessUnitAssembler:
    """Makes access units of payloads; stores parameter sets, and the NAL unit type with which units begin."""

    __slots__ = ("_first_kinds", "_pps", "_sps")

    def __init__(self, known: Iterable[bytes] = ()) -> None:
        self._sps: dict[int, bytes] = {}
        self._pps: dict[int, bytes] = {}
        self._first_kinds: dict[bool, int] = {}
        for unit in known:
            try:
                self._store_parameter_set(unit)
            except PayloadError:  # the SDP is a hint; the stream brings its own
                continue

    def assemble(self, payloads: list[bytes], flags: list[int]) -> Picture | None:
        """Join the NAL units of one access unit. Returns None if it has parameter sets only."""
        units = _nal_units(payloads)
        kinds = [unit[0] & 31 for unit in units]
        is_keyframe = _IDR in kinds
        if flags[0] & AFTER_LOSS and self._first_kinds.get(is_keyframe, kinds[0]) != kinds[0]:
            raise PayloadError("an H.264 access unit whose beginning is lost")
        for kind, unit in zip(kinds, units, strict=True):
            if kind in {_SPS, _PPS}:
                self._store_parameter_set(unit)
        if not any(_SLICE <= kind <= _IDR for kind in kinds):
            return None
        self._first_kinds[is_keyframe] = kinds[0]
        width = height = 0
        if is_keyframe:
            units, width, height = self._with_parameter_sets(units, kinds)
        return Picture(_START_CODE + _START_CODE.join(units), is_keyframe, width, height)

    def _store_parameter_set(self, unit: bytes) -> None:
        if len(unit) > _MAX_PARAMETER_SET_BYTES:
            raise PayloadError(f"an H.264 parameter set of more than {_MAX_PARAMETER_SET_BYTES} bytes")
        if unit[0] & 31 == _SPS:
            number = read_sps_id(unit)
            read_size(unit)
            known = self._sps
        else:
            number, _ = _read_pps(unit)
            known = self._pps
        if number >= _MAX_IDS:
            raise PayloadError("an H.264 parameter set of an impossible id")
        known[number] = unit

    def _with_parameter_sets(self, units: list[bytes], kinds: list[int]) -> tuple[list[bytes], int, int]:
        """Return the NAL units with the parameter sets that an IDR refers to, its width and its height."""
        slice_bits = BitReader(without_emulation_prevention(units[kinds.index(_IDR)][1:32]))
        slice_bits.unsigned_golomb()  # first_mb_in_slice
        slice_bits.unsigned_golomb()  # slice_type
        pps = self._pps.get(slice_bits.unsigned_golomb())
        sps = self._sps.get(_read_pps(pps)[1]) if pps else None
        if pps is None or sps is None:
            raise PayloadError("an H.264 key frame without parameter sets")
        missing = [unit for unit in (sps, pps) if unit not in units]
        at = 1 if kinds[0] == _AUD else 0
        return [*units[:at], *missing, *units[at:]], *read_size(sps)


def _read_pps(unit: bytes) -> tuple[int, int]:
    """Return pic_parameter_set_id and seq_parameter_set_id (ITU-T H.264 section 7.3.2.2)."""
    bits = BitReader(without_emulation_prevention(unit[1:16]))
    return bits.unsigned_golomb(), bits.unsigned_golomb()


def _nal_units(payloads: list[bytes]) -> list[bytes]:
    units: list[bytes] = []
    fragments: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 31
        if kind == _STAP_A:
            units += _aggregated(payload)
        elif kind != _FU_A:
            units.append(payload)
        else:
            head = payload[1]
            if head & 0x80:
                fragments = [bytes((payload[0] & 0xE0 | head & 0x1F,))]
            fragments.append(payload[2:])
            if head & 0x40:
                units.append(b"".join(fragments))
    return units


def _aggregated(payload: bytes) -> list[bytes]:
    """Split a STAP-A: NAL units with two bytes of length before each (RFC 6184 section 5.7.1)."""
    units = []
    offset, end = 1, len(payload)
    while offset < end:
        start = offset + 2
        offset = start + int.from_bytes(payload[offset:start], "big")
        if offset > end or offset == start or start > end:
            raise PayloadError("an H.264 aggregation that is cut short")
        units.append(payload[start:offset])
    return units
