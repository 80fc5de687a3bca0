"""The images of the Dockerfiles, built once a run."""

import pytest

from tests.container.engine import ROOT, STORAGE, Image, build, locked


@pytest.fixture(scope="session")
def image(testrun_uid: str) -> Image:
    """The project's image."""
    built = STORAGE / "built"
    with locked():
        if not built.exists() or built.read_text() != testrun_uid:
            build("localhost/rokuga", ROOT / "Dockerfile")
            built.write_text(testrun_uid)
    return Image("localhost/rokuga")
