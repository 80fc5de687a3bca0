"""Options, marks and fixtures of the whole test suite."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from rokuga.devtools.etcd_servers import serving
from tests.support.etcd import Servers

settings.register_profile(
    "rokuga",
    deadline=None,  # the time of an example depends on the load of the machine
    derandomize=True,  # a failure is reproducible; `make fuzz` looks for new examples
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("rokuga")

PROCESS_MARKS = ("system", "end_to_end", "soak")
"""Only tests with one of these marks may start a process."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that states which form of the package is on the path (the Makefile sets it)."""
    parser.addoption("--compiled", action="store_true", help="the package under test is the compiled one")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use etcd."""
    for item in items:
        if "etcd" in getattr(item, "fixturenames", ()):
            item.add_marker("system")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that starts a process without a mark for it, so that unit tests run everywhere."""
    is_marked = any(item.get_closest_marker(name) for name in PROCESS_MARKS)
    with contextlib.nullcontext() if is_marked else _no_processes():
        return (yield)


_start_process = subprocess.Popen.__init__


def _refuse_process(*arguments: Any, **options: Any) -> None:
    if sys._getframe(1).f_globals["__name__"] != "ctypes.util":  # an import may look for a shared library
        pytest.fail("a unit test started a process: mark it `system`")
    _start_process(*arguments, **options)


@contextlib.contextmanager
def _no_processes() -> Iterator[None]:
    with (
        mock.patch.object(subprocess.Popen, "__init__", _refuse_process),
        mock.patch.object(os, "fork", _refuse_process),
    ):
        yield


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Three etcd servers for the whole run; each test uses a key prefix of its own."""
    with serving(tmp_path_factory.mktemp("etcd"), 3) as running:
        yield Servers(running)
