"""What tests of several rooms share."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from rokuga.devtools.etcd_servers import serving
from tests.support.etcd import Servers

settings.register_profile(
    "rokuga",
    deadline=None,  # how long an example takes depends on who else computes
    derandomize=True,  # what fails once fails again; `make fuzz` goes where nobody has been
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("rokuga")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller say which form of the package is on the path (the Makefile does)."""
    parser.addoption("--compiled", action="store_true", help="the package under test is the compiled one")


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Three etcd servers for the whole run; each test has keys of its own."""
    with serving(tmp_path_factory.mktemp("etcd"), 3) as running:
        yield Servers(running)
