"""All attacks on the signalling port at once: what they cost those who are recorded, who call and who come.

    python -m benchmarks.attacks [PUBLISHERS [SECONDS]]

Needs root, for network namespaces.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.attacked import attack


def main(publishers: int = 20, seconds: float = 60.0) -> None:
    """Attack, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(attack(Path(folder), publishers, seconds))
    answers, newcomers = sorted(outcome.answers_s), sorted(outcome.newcomers_s)
    print(f"publishers {len(outcome.publishers)}, incomplete files {len(outcome.missing)}: {outcome.missing}")
    print(f"API answers {len(answers)}: median {outcome.median_answer_s * 1000:.1f} ms, ", end="")
    print(f"95 % {answers[len(answers) * 95 // 100] * 1000:.1f} ms, slowest {answers[-1] * 1000:.1f} ms")
    print(f"newcomers {len(newcomers)}: slowest {newcomers[-1]:.2f} s, median {newcomers[len(newcomers) // 2]:.2f} s")
    print(f"peak RSS {outcome.peak_rss_bytes / 1e6:.0f} MB, log lines of errors {len(outcome.faults)}")
    for kind, counts in outcome.done.items():
        print(f"{kind}: {counts}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
