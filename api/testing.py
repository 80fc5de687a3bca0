"""The former name of the pytest plugin, for a `conftest.py` that uses it."""

import warnings

from rokuga.devtools.pytest_plugin import *  # noqa: F403  # fixtures are found by their names
from rokuga.devtools.pytest_plugin import RokugaRecorder  # noqa: F401

warnings.warn("rokuga.api.testing is now rokuga.devtools.pytest_plugin", DeprecationWarning, stacklevel=2)
