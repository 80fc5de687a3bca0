"""Small packetizers: encoded units in, RTP packets out. Only for tests; they use every form that the RFCs allow."""

from collections.abc import Iterable, Sequence

from rokuga.recorder.media import RtpPacket

MTU = 1100


def packets(
    payloads_of_units: Iterable[Sequence[bytes]], *, step: int = 3000, marker: bool = True, first: int = 0
) -> list[list[RtpPacket]]:
    """One list of packets for each unit, numbered on and on from `first`."""
    sequence = first
    units = []
    for number, payloads in enumerate(payloads_of_units):
        unit = []
        for i, payload in enumerate(payloads):
            is_last = i == len(payloads) - 1
            unit.append(RtpPacket(96, marker and is_last, sequence, number * step, 1, payload, sequence * 1000))
            sequence += 1
        units.append(unit)
    return units


def cut(data: bytes, size: int = MTU) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def vp8(frame: bytes, *, extension: bytes = b"", size: int = MTU) -> list[bytes]:
    """RFC 7741: S on the first one. `extension` is the descriptor from its second byte on."""
    head = 0x80 if extension else 0
    parts = cut(frame, size)
    return [bytes((head | (0x10 if i == 0 else 0),)) + extension + part for i, part in enumerate(parts)]


def vp9(frame: bytes, *, picture_id: int = 0, structure: bytes = b"", size: int = MTU) -> list[bytes]:
    """RFC 9628 in flexible mode without layers, as libwebrtc sends it: a 15-bit picture id, V on the first one."""
    parts = cut(frame, size)
    is_key = frame[0] & 0x0C == 0
    out = []
    for i, part in enumerate(parts):
        has_structure = structure and i == 0
        head = 0x90 | (0 if is_key else 0x40) | (8 if i == 0 else 0) | (4 if i == len(parts) - 1 else 0)
        descriptor = bytes((head | (2 if has_structure else 0), 0x80 | picture_id >> 8, picture_id & 255))
        descriptor += b"" if is_key else b"\x02"
        out.append(descriptor + (structure if has_structure else b"") + part)
    return out


def vp9_layers(
    frames: Sequence[bytes],
    *,
    structure: bytes = b"",
    size: int = MTU,
    is_key: bool = False,
    sids: Sequence[int] = (),
) -> list[bytes]:
    """RFC 9628 in non-flexible mode with layer indices: one layer frame after the other."""
    out = []
    for sid, frame in zip(sids or range(len(frames)), frames, strict=True):
        parts = cut(frame, size)
        for i, part in enumerate(parts):
            has_structure = structure and i == 0 and sid == 0
            head = 0x20 | (0 if is_key else 0x40) | (8 if i == 0 else 0) | (4 if i == len(parts) - 1 else 0)
            descriptor = bytes((head | (2 if has_structure else 0), sid << 1 | bool(sid and is_key), 0))
            out.append(descriptor + (structure if has_structure else b"") + part)
    return out


def leb128(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def read_leb128(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, offset


def obus(unit: bytes) -> list[bytes]:
    """Split a unit in the low-overhead format."""
    out = []
    offset = 0
    while offset < len(unit):
        size, start = read_leb128(unit, offset + (2 if unit[offset] & 4 else 1))
        out.append(unit[offset : start + size])
        offset = start + size
    return out


def without_size(obu: bytes) -> bytes:
    header = 2 if obu[0] & 4 else 1
    _, start = read_leb128(obu, header)
    return bytes((obu[0] & ~2,)) + obu[1:header] + obu[start:]


def av1(unit: bytes, *, size: int = MTU, counted: bool = True, keep_sizes: bool = False) -> list[bytes]:
    """AV1 RTP: temporal delimiters off; sizes off unless kept; W counts elements, or is 0 if not `counted`.

    A packet takes whole elements while there is room, and fragments otherwise. At most 3 elements are counted.
    """
    left = [obu if keep_sizes else without_size(obu) for obu in obus(unit) if obu[0] >> 3 & 15 != 2]
    has_sequence = any(obu[0] >> 3 & 15 == 1 for obu in left)
    out: list[bytes] = []
    goes_on = False
    while left:
        elements: list[bytes] = []
        room = size - 1
        started = goes_on
        goes_on = False
        while left and room > 4 and not (counted and len(elements) == 3):
            element = left.pop(0)
            if len(element) > room - 3:
                left.insert(0, element[room - 3 :])
                element = element[: room - 3]
                goes_on = True
            elements.append(element)
            room -= len(element) + 3
            if goes_on:
                break
        count = len(elements) if counted else 0
        head = 0x80 * started | 0x40 * goes_on | count << 4 | (8 if has_sequence and not out else 0)
        body = b"".join(
            (b"" if counted and i == count - 1 else leb128(len(element))) + element
            for i, element in enumerate(elements)
        )
        out.append(bytes((head,)) + body)
    return out


def nal_units(annex_b: bytes) -> list[bytes]:
    """Split an Annex B stream; its start codes may have 3 or 4 bytes."""
    parts = annex_b.split(b"\x00\x00\x01")[1:]
    return [part.rstrip(b"\x00") if i < len(parts) - 1 else part for i, part in enumerate(parts)]


def stap_a(units: Sequence[bytes]) -> bytes:
    return bytes((0x18 | max(unit[0] & 0x60 for unit in units),)) + b"".join(
        len(unit).to_bytes(2, "big") + unit for unit in units
    )


def h264(units: Sequence[bytes], *, size: int = MTU, aggregate: bool = True) -> list[bytes]:
    """RFC 6184, mode 1 (mode 0 if `size` is huge and nothing aggregated): small units together, large ones cut."""
    out: list[bytes] = []
    small: list[bytes] = []
    for unit in units:
        if aggregate and len(unit) < 200:
            small.append(unit)
            continue
        out += _flushed(small)
        small = []
        if len(unit) <= size:
            out.append(unit)
            continue
        parts = cut(unit[1:], size)
        for i, part in enumerate(parts):
            flags = (0x80 if i == 0 else 0) | (0x40 if i == len(parts) - 1 else 0)
            out.append(bytes((unit[0] & 0xE0 | 28, flags | unit[0] & 0x1F)) + part)
    return out + _flushed(small)


def _flushed(small: list[bytes]) -> list[bytes]:
    return [stap_a(small)] if len(small) > 1 else small
