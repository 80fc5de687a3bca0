"""Compiles the hot rooms where the wheel is made with ROKUGA_COMPILED=1; all else is said in pyproject.toml."""

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from setuptools import setup

HERE = Path(__file__).parent


def extensions() -> list[Any]:
    """Give what mypyc makes of the modules that pyproject.toml lists, or nothing where nobody asked for it."""
    if os.environ.get("ROKUGA_COMPILED") != "1":
        return []
    if "editable_wheel" in sys.argv or "--inplace" in sys.argv or "-i" in sys.argv:
        raise SystemExit("compiled modules would hide the sources beside them: make a wheel")
    from mypyc.build import mypycify

    patterns = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["rokuga"]["compiled"]
    paths = sorted({str(path.relative_to(HERE)) for each in patterns for path in (HERE / "rokuga").glob(each)})
    options = ["--cache-dir", "build/mypy_cache"]  # that of `mypy` holds the same modules, seen with other options
    # In loops of packets -O1 is as fast as -O3, and gcc takes two thirds of the time.
    return mypycify(options + paths, opt_level="1", debug_level="0", group_name="rokuga")


setup(ext_modules=extensions())
