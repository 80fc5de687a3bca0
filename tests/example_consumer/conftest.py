"""The consumer under test, and its URL for the recorder."""

import threading

import pytest
from consumer import Index

pytest_plugins = ["rokuga.devtools.pytest_plugin"]


@pytest.fixture
def index():
    with Index() as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def rokuga_webhook_url(index):
    return index.url
