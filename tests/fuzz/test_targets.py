"""The fuzz targets, short: seeds as they are, seeds changed in ways that are the same at each run, and findings."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.targets import TARGETS, record, seeds

FINDINGS = Path(__file__).parent.parent / "vectors" / "fuzz"
ROUNDS = 1000


def changed(seed: bytes, random: Random) -> bytes:
    """Change, cut, double, or put in a few bytes here and there; heads of records more than their insides."""
    data = bytearray(seed)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(data) + 1) if random.random() < 0.6 else random.randrange(min(len(data) + 1, 40))
        match random.randrange(5):
            case 0:
                data[at : at + 1] = random.randbytes(1)
            case 1:
                data[at : at + 1] = bytes((random.choice((0, 1, 0x7F, 0x80, 0xFF)),))
            case 2:
                del data[at : at + random.choice((1, 2, 30, 2000))]
            case 3:
                data[at:at] = data[at : at + random.choice((1, 4, 1000))]
            case _:
                data[at:at] = record(random.randrange(256), random.randbytes(random.randrange(30)))
    return bytes(data)


@pytest.mark.parametrize("name", list(TARGETS))
def test_targets_keep_their_promise_for_findings_seeds_and_what_is_made_of_seeds(name: str) -> None:
    for finding in sorted(FINDINGS.glob(f"{name}/*.hex")):
        TARGETS[name](bytes.fromhex(finding.read_text()))
    random = Random(name)
    for seed in seeds(name):
        TARGETS[name](seed)
        for _ in range(ROUNDS // len(seeds(name)) + 1):
            TARGETS[name](changed(seed, random))
