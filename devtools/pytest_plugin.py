"""A pytest plugin for tests of webhook consumers and API clients: the fixture `rokuga_recorder` is a real daemon.

pytest finds it by its entry point where Rokuga is installed (`pip install rokuga[testing]`); a `conftest.py` may also
name it in `pytest_plugins`. Override the fixture `rokuga_webhook_url` with the URL of the consumer under test.

Every pytest run of such an environment imports this module, so it imports nothing heavy before a fixture is used.
"""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rokuga.devtools.recorder_process import RokugaRecorder


def __getattr__(name: str) -> Any:
    """Return `RokugaRecorder`, which tests import from here for their annotations."""
    if name != "RokugaRecorder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rokuga.devtools.recorder_process import RokugaRecorder

    return RokugaRecorder


@pytest.fixture
def rokuga_webhook_url() -> str | None:
    """Return the URL of the consumer under test; override it. None: the daemon's events go to the test alone."""
    return None


@pytest.fixture
def rokuga_recorder(
    tmp_path_factory: pytest.TempPathFactory, rokuga_webhook_url: str | None
) -> Iterator["RokugaRecorder"]:
    """Run a daemon on free ports, with an archive of its own, until the test ends."""
    from rokuga.devtools.recorder_process import RokugaRecorder, WebhookRelay

    with WebhookRelay(rokuga_webhook_url) as relay:
        serving = threading.Thread(target=relay.serve_forever, args=(0.05,))
        serving.start()
        try:
            recorder = RokugaRecorder(tmp_path_factory.mktemp("rokuga"), relay)
            try:
                yield recorder
            finally:
                recorder.stop()
        finally:
            relay.shutdown()
            serving.join()
