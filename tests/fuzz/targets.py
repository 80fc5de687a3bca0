"""A fuzz target for each parser. Each accepts any bytes, and raises only where the parser breaks its contract.

`python -m tests.fuzz.targets SECONDS [NAME ...]` runs them with atheris, one after the other, for SECONDS each.
Findings are added to `tests/vectors/fuzz/NAME/`, as hexadecimal text; `test_targets.py` replays them.
"""

import gc
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Final

from rokuga.recorder.codecs.table import CODECS
from tests.fuzz.media_targets import depacketizer_of, receiver, rtcp, rtp, sprop
from tests.fuzz.network_targets import answer, client_offer, fragment, offer, signaling, stun, tcp
from tests.fuzz.records import Target
from tests.fuzz.seeds import seeds

MAX_BYTES: Final = 20_000
"""Longest input: a few packets, or some dozens of small ones."""


TARGETS: Mapping[str, Target] = {
    "rtp": rtp,
    "rtcp": rtcp,
    "stun": stun,
    "tcp": tcp,
    "receiver": receiver,
    "sprop": sprop,
    "offer": offer,
    "answer": answer,
    "client_offer": client_offer,
    "signaling": signaling,
    "fragment": fragment,
    **{name.lower(): depacketizer_of(name) for name in CODECS},
}


def instrument(atheris: object) -> None:
    """Instrument all loaded functions of the project, so that atheris sees their branches."""
    instrument_function = atheris.instrument_func  # type: ignore[attr-defined]  # no types without the package
    for function in [thing for thing in gc.get_objects() if isinstance(thing, FunctionType)]:
        if (function.__module__ or "").startswith(("rokuga.recorder.", "rokuga.api.")):
            instrument_function(function)


def run_one(name: str, arguments: list[str]) -> None:
    """Fuzz one target; the process ends with it. `arguments` are libFuzzer's."""
    atheris = importlib.import_module("atheris")
    for seed in seeds(name):
        TARGETS[name](seed)
    instrument(atheris)
    atheris.Setup([name, *arguments], TARGETS[name])
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Fuzz targets one after the other, each in a process of its own; return the number of those that failed."""
    if arguments[0] in TARGETS:
        run_one(arguments[0], arguments[1:])
    failed = []
    for name in arguments[1:] or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            for number, seed in enumerate(seeds(name)):
                (Path(folder) / f"seed{number}").write_bytes(seed)
            limits = [f"-max_total_time={arguments[0]}", f"-max_len={MAX_BYTES}", "-timeout=10", "-rss_limit_mb=1024"]
            command = [sys.executable, "-m", "tests.fuzz.targets", name, *limits, "-artifact_prefix=fuzz-", folder]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
    print("failed:", *failed) if failed else print("nothing found")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
