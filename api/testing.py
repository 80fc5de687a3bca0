"""The former name of the pytest plugin, for a `conftest.py` of version 0.1.0."""

import warnings

from rokuga.devtools.pytest_plugin import rokuga_recorder, rokuga_webhook_url
from rokuga.devtools.recorder_process import RokugaRecorder

__all__ = ["RokugaRecorder", "rokuga_recorder", "rokuga_webhook_url"]

warnings.warn("rokuga.api.testing is now rokuga.devtools.pytest_plugin", DeprecationWarning, stacklevel=2)
