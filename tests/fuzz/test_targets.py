"""The fuzz targets, bounded and deterministic: findings, seeds, and mutations of seeds."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.records import record
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

FINDINGS = Path(__file__).parent.parent / "vectors" / "fuzz"
ROUNDS = 1000


def mutated(seed: bytes, random: Random) -> bytes:
    """Change, delete or insert a few bytes, at the beginning more often."""
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
def test_parsers_keep_their_contract_for_findings_seeds_and_mutated_seeds(name: str) -> None:
    for finding in sorted(FINDINGS.glob(f"{name}/*.hex")):
        TARGETS[name](bytes.fromhex(finding.read_text()))
    random = Random(name)
    for seed in seeds(name):
        TARGETS[name](seed)
        for _ in range(ROUNDS // len(seeds(name)) + 1):
            TARGETS[name](mutated(seed, random))
