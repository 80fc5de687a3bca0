"""All attacks on the signalling port at once: what they cost those who are recorded, who call and who come.

    python -m benchmarks.attacks [PUBLISHERS [SECONDS]]

Needs root, for network namespaces.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.attack_scenario import attack


def main(publishers: int = 20, seconds: float = 60.0) -> None:
    """Run the attacks, and print the results."""
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(attack(Path(folder), publishers, seconds))
    answers, newcomers = sorted(result.response_times_s), sorted(result.joining_times_s)
    print(f"publishers {len(result.publishers)}, incomplete files {len(result.missing)}: {result.missing}")
    print(f"API answers {len(answers)}: median {result.median_response_s * 1000:.1f} ms, ", end="")
    print(f"95 % {answers[len(answers) * 95 // 100] * 1000:.1f} ms, slowest {answers[-1] * 1000:.1f} ms")
    print(f"newcomers {len(newcomers)}: slowest {newcomers[-1]:.2f} s, median {newcomers[len(newcomers) // 2]:.2f} s")
    print(f"peak RSS {result.peak_rss_bytes / 1e6:.0f} MB, log lines of errors {len(result.faults)}")
    for kind, counts in result.attacks.items():
        print(f"{kind}: {counts}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
