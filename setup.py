"""Compile the hot path when the wheel is built with ROKUGA_COMPILED=1; pyproject.toml has everything else."""

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from setuptools import setup

HERE = Path(__file__).parent


def extensions() -> list[Any]:
    """Give what mypyc makes of the modules that pyproject.toml lists; nothing where nobody asked for it.

    Nor for anything but a wheel: in the checkout itself, compiled modules would hide the sources beside them.
    """
    if os.environ.get("ROKUGA_COMPILED") != "1" or "bdist_wheel" not in sys.argv:
        return []
    from mypyc.build import mypycify

    patterns = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["rokuga"]["compiled"]
    paths = sorted({str(path.relative_to(HERE)) for each in patterns for path in (HERE / "rokuga").glob(each)})
    options = ["--cache-dir", "build/mypy_cache"]  # that of `mypy` holds the same modules, seen with other options
    # In loops of packets -O1 is as fast as -O3, and gcc takes two thirds of the time.
    return mypycify(options + paths, opt_level="1", debug_level="0", group_name="rokuga")


setup(ext_modules=extensions())
