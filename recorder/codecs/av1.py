"""AV1 over RTP (RTP Payload Format For AV1, version 1.0), stored in the low-overhead bitstream format.

On the wire OBUs are elements with or without obu_size, fragmented over packets where they do not fit. When stored,
every OBU has obu_size, and temporal delimiters and tile lists are left out (AV1 in Matroska, section "Block Data").
OBUs that were sent with obu_size are stored byte for byte.
"""

from typing import Final

from rokuga.recorder.codecs.assembly import AFTER_LOSS, FIRST, LAST, START, SURE_START, Picture, UnitAssembler
from rokuga.recorder.codecs.av1_obu import (
    FRAME,
    FRAME_HEADER,
    SEQUENCE_HEADER,
    TEMPORAL_DELIMITER,
    TILE_LIST,
    Obu,
    SequenceHeader,
    is_shown_key_frame,
    read_leb128,
    read_obu,
    read_sequence_header,
)
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.parameters import Fmtp, Params, whole_number

_FIRST_TYPES: Final = frozenset((SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME_HEADER, FRAME))
_NEW_SEQUENCE: Final = 0x08


def depacketizer(_fmtp: Fmtp) -> UnitAssembler:
    """Return a new Depacketizer."""
    return UnitAssembler(parse_payload, TemporalUnitAssembler().assemble)


def format_parameters(params: Params) -> Fmtp:
    """Return the fmtp of an offer (section 7.1). Raises ParametersError."""
    return {"profile": whole_number(params, "profile", 0, 2)}


def accepts(fmtp: Fmtp) -> bool:
    """Return whether the profile is one that AV1 has."""
    return fmtp.get("profile", "0") in {"0", "1", "2"}


def parse_payload(payload: bytes) -> tuple[int, bytes]:
    """Parse the aggregation header (section 4.4): Z continues an OBU, Y leaves one incomplete."""
    if len(payload) < 2:
        raise PayloadError("an AV1 payload without data")
    head = payload[0]
    flags = 0 if head & 0x40 else LAST
    if not head & 0x80:
        flags |= FIRST | START
        offset = 1 if head & 0x30 == 0x10 else read_leb128(payload, 1)[1]
        if offset >= len(payload):
            raise PayloadError("an AV1 payload without data")
        obu_type = payload[offset] >> 3 & 15
        if obu_type in _FIRST_TYPES and not _is_upper_layer(payload, offset):
            flags |= SURE_START
    elif head & _NEW_SEQUENCE:
        raise PayloadError("an AV1 payload that begins a sequence within an OBU")
    return flags, payload


def _is_upper_layer(payload: bytes, offset: int) -> bool:
    """Return whether an OBU is of a spatial layer above the lowest (its extension may be in the next packet)."""
    return bool(payload[offset] & 0x04) and offset + 1 < len(payload) and bool(payload[offset + 1] & 0x18)


class TemporalUnitAssembler:
    """Makes temporal units of payloads; stores the sequence header for key frames that were sent without one."""

    __slots__ = ("_sequence", "_sequence_obu")

    def __init__(self) -> None:
        self._sequence: SequenceHeader | None = None
        self._sequence_obu = b""

    def assemble(self, payloads: list[bytes], flags: list[int]) -> Picture | None:
        """Join the OBUs of a unit; read from its headers whether it is a key frame, and its size."""
        obus = [read_obu(data) for data in _join_elements(payloads)]
        obus = [obu for obu in obus if obu.type not in {TEMPORAL_DELIMITER, TILE_LIST}]
        carried = self._store_sequence(obus)
        if payloads[0][0] & _NEW_SEQUENCE and not carried:
            raise PayloadError("an AV1 sequence that begins without its header")
        if not obus:
            return None
        data = [obu.stored for obu in obus]
        sequence = self._sequence
        if sequence is None or not _shows_key_frame(obus, sequence):
            return Picture(b"".join(data), False, 0, 0)
        if not carried:
            if flags[0] & AFTER_LOSS:
                raise PayloadError("an AV1 key frame whose beginning is lost")
            data.insert(0, self._sequence_obu)
        return Picture(b"".join(data), True, sequence.width, sequence.height)

    def _store_sequence(self, obus: list[Obu]) -> bool:
        for obu in obus:
            if obu.type == SEQUENCE_HEADER:
                self._sequence = read_sequence_header(obu.payload)
                self._sequence_obu = obu.stored
                return True
        return False


def configuration_record(data: bytes) -> bytes:
    """Return the AV1CodecConfigurationRecord (av1C) of a stored key frame (AV1-ISOBMFF section 2.3).

    Raises PayloadError if there is no sequence header in it.
    """
    offset = 0
    while offset < len(data):
        obu, end = _next_stored(data, offset)
        if obu.type == SEQUENCE_HEADER:
            return read_sequence_header(obu.payload).av1c + obu.stored
        offset = end
    raise PayloadError("an AV1 unit without a sequence header")


def _next_stored(data: bytes, offset: int) -> tuple[Obu, int]:
    size_offset = offset + (2 if data[offset] & 0x04 else 1)
    if not data[offset] & 0x02:
        raise PayloadError("a stored AV1 unit with an OBU without its size")
    size, payload_offset = read_leb128(data, size_offset)
    end = payload_offset + size
    return read_obu(data[offset:end]), end


def _join_elements(payloads: list[bytes]) -> list[bytes]:
    """Split payloads into OBU elements (section 4.3) and join those that were fragmented over packets."""
    elements: list[bytes] = []
    parts: list[bytes] = []  # of an incomplete OBU
    for payload in payloads:
        found = _read_elements(payload)
        if payload[0] & 0x80:
            parts.append(found[0])
            del found[0]
            if found or not payload[0] & 0x40:
                elements.append(b"".join(parts))
                parts = []
        if found and payload[0] & 0x40:
            parts = [found.pop()]
        elements += found
    return elements


def _read_elements(payload: bytes) -> list[bytes]:
    """Return the elements of one payload: W of them, the last without its length, or, for W = 0, all with it."""
    count = payload[0] >> 4 & 3
    elements: list[bytes] = []
    offset, end = 1, len(payload)
    while offset < end:
        if count and len(elements) == count - 1:
            size = end - offset
        else:
            size, offset = read_leb128(payload, offset)
        if offset + size > end:
            raise PayloadError("an AV1 OBU element that is cut short")
        elements.append(payload[offset : offset + size])
        offset += size
    if not elements or (count and len(elements) != count):
        raise PayloadError("an AV1 payload with fewer OBU elements than it says")
    return elements


def _shows_key_frame(obus: list[Obu], sequence: SequenceHeader) -> bool:
    for obu in obus:
        if obu.type in {FRAME_HEADER, FRAME}:
            return sequence.is_reduced or is_shown_key_frame(obu.payload)
    return False
