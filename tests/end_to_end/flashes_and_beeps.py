"""The times of flashes and beeps in a recording, which were simultaneous and have to be stored so."""

from pathlib import Path

import av
import numpy as np

FLASH_LUMA = 200
BEEP_LEVEL = 0.1
SAMPLE_RATE_HZ = 48000


def flashes_s(path: Path) -> list[float]:
    """Return the times in s at which the picture turns white."""
    times = []
    was_white = False
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            is_white = bool(frame.to_ndarray(format="gray").mean() > FLASH_LUMA)
            if is_white and not was_white:
                times.append(float(frame.time))
            was_white = is_white
    return times


def beeps_s(path: Path) -> list[float]:
    """Return the times in s at which a beep begins."""
    times = []
    silent_since = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            samples = samples.mean(axis=0) if frame.format.is_planar else samples.reshape(-1)
            loud = np.flatnonzero(np.abs(samples) > BEEP_LEVEL)
            if not len(loud):
                continue
            step = len(samples) / frame.samples
            begin = (frame.time or 0.0) + loud[0] / step / SAMPLE_RATE_HZ
            if begin - silent_since > 0.3:
                times.append(begin)
            silent_since = (frame.time or 0.0) + loud[-1] / step / SAMPLE_RATE_HZ
    return times


def sizes(path: Path) -> set[tuple[int, int]]:
    """Return all sizes of the pictures."""
    with av.open(str(path)) as container:
        return {(frame.width, frame.height) for frame in container.decode(video=0)}


def sync_errors_ms(path: Path, flash_lateness_ms: list[float | None]) -> list[float]:
    """Return for each pair by how many ms the recording delayed the flash against its beep.

    `flash_lateness_ms` is how late the page has drawn each flash, None if it could not measure that. The camera's
    frame interval of 33 ms remains in each value: use the median.
    """
    flashes = flashes_s(path)
    beeps = beeps_s(path)
    drawn = flash_lateness_ms[-len(beeps) :]
    errors = []
    for beep, lateness in zip(beeps[-len(drawn) :], drawn, strict=True):
        flash = min(flashes, key=lambda seen: abs(seen - beep))
        if lateness is not None and abs(flash - beep) < 0.5:
            errors.append((flash - beep) * 1000 - lateness)
    return errors
