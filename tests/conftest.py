"""What tests of several rooms share."""

from collections.abc import Iterator

import pytest

from tests.etcd import Servers, serving


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Three etcd servers for the whole run; each test has keys of its own."""
    with serving(tmp_path_factory.mktemp("etcd")) as servers:
        yield servers
