"""Whether this installation runs the modules that mypyc has compiled, or their source."""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


def is_compiled() -> bool:
    """Return whether the modules of the hot path are compiled; either all are, or none is."""
    spec = find_spec("rokuga.recorder.track")
    return spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))
