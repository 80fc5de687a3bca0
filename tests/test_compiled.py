"""The modules of the hot path run in the form, compiled or source, that the test run asks for."""

import tomllib
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest

from rokuga.api.compiled import is_compiled

ROOT = Path(__file__).parent.parent


def listed() -> list[str]:
    """Return the names of the modules that pyproject.toml lists as compiled."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["rokuga"]["compiled"]
    paths = [sorted((ROOT / "rokuga").glob(pattern)) for pattern in patterns]
    assert all(paths), "a pattern matches no module"
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for found in paths for path in found]


def test_all_listed_modules_are_compiled_or_none_is(request: pytest.FixtureRequest) -> None:
    """Otherwise a pure wheel, or a compiled module beside its source, would go unnoticed."""
    origins = {name: str(spec.origin) for name in listed() if (spec := find_spec(name))}
    compiled = {name for name, origin in origins.items() if origin.endswith(tuple(EXTENSION_SUFFIXES))}
    assert compiled == (set(listed()) if request.config.getoption("--compiled") else set())


def test_the_daemon_reports_the_form(request: pytest.FixtureRequest) -> None:
    """In its log and in `rokuga --version`."""
    assert is_compiled() is request.config.getoption("--compiled")


def test_the_sources_are_installed_beside_the_compiled_modules() -> None:
    """Tracebacks show source lines."""
    for name in listed():
        file = import_module(name).__file__
        assert file is not None
        assert Path(file).with_name(f"{name.rpartition('.')[2]}.py").is_file(), file
