"""Which form of the hot rooms runs: what mypyc made of them, or the source."""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


def is_compiled() -> bool:
    """Say whether the hot rooms are compiled; they are all, or none is."""
    spec = find_spec("rokuga.recorder.track")
    return spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))
