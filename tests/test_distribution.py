"""The wheel, also beside a project that has its own `api`, `webhooks` and `tests`."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent
CUSTOMER_PACKAGES = ("api", "webhooks", "tests", "recorder")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the checkout, with the build tools of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("rokuga-*.whl")
    return built


def test_the_wheel_has_one_top_level_name_only(wheel: Path) -> None:
    """Only `rokuga` and its metadata are installed."""
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"rokuga"}


def test_a_source_install_has_nothing_to_compile(wheel: Path) -> None:
    """Without ROKUGA_COMPILED no compiler is needed, and the wheel is for every machine."""
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".so", ".c"))]


def test_nothing_is_compiled_beside_its_source() -> None:
    """A compiled module would hide its edited source."""
    asked = os.environ | {"ROKUGA_COMPILED": "1"}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=ROOT, env=asked, check=True, capture_output=True)
    assert not [*(ROOT / "recorder").rglob("*.so")]


def test_the_wheel_carries_its_data_files(wheel: Path) -> None:
    """Schemas, pages, clips and the type marker are shipped."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "rokuga/py.typed",
        "rokuga/samples/vp9-opus.webm",
        "rokuga/recorder/store/schema.sql",
        "rokuga/webhooks/schema.sql",
        "rokuga/api/pages/index.html",
        "rokuga/api/pages/page.css",
        "rokuga/api/pages/main.js",
        "rokuga/api/pages/icon.svg",
    } <= names


def test_a_customer_keeps_its_own_packages(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`import api` is that of the project, `rokuga` can be imported, and the command exists."""
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    for package in CUSTOMER_PACKAGES:
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").write_text("OWNER = 'customer'\n")
    environment = tmp_path / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    # The dependencies are those of this environment: only the location of the wheel's files is tested.
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    (next((environment / "lib").glob("python*")) / "site-packages" / "dependencies.pth").write_text(dependencies)
    code = (
        "import api, webhooks, tests, recorder, rokuga.cli.__main__, rokuga.webhooks, rokuga.recorder\n"
        "print({m.OWNER for m in (api, webhooks, tests, recorder)}, rokuga.__file__)"
    )
    shown = subprocess.run([python, "-c", code], cwd=project, check=True, capture_output=True, text=True).stdout
    assert "{'customer'}" in shown
    assert str(environment) in shown
    subprocess.run([environment / "bin" / "rokuga", "--help"], cwd=project, check=True, capture_output=True)
