"""The names, units and help texts of all metrics follow https://prometheus.io/docs/practices/naming/."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from rokuga.api.monitoring.endpoint import exposition
from rokuga.api.monitoring.metrics import METRICS
from tests.machine import lacks

PROMTOOL = Path(__file__).parents[3] / ".tools/promtool"

OTHER_UNITS = (
    r"_(ns|us|ms|nanoseconds|microseconds|milliseconds|minutes|hours|days|kb|kilobytes|megabytes|bits|kbps)\b"
)


@pytest.fixture(scope="module")
def text() -> str:
    """All metrics, each with one sample, as `GET /metrics` has them."""
    return exposition({name: {"x": 1} if row.label else 1 for name, row in METRICS.items()}, "1.2.3").decode()


@pytest.fixture(scope="module")
def families(text: str) -> Sequence[Metric]:
    return list(text_string_to_metric_families(text))


def test_every_metric_has_a_help_text(families: Sequence[Metric]) -> None:
    assert [family.name for family in families if len(family.documentation.split()) < 2] == []


def test_counters_alone_end_in_total(families: Sequence[Metric]) -> None:
    for family in families:
        names = {sample.name for sample in family.samples}
        assert family.type in {"counter", "gauge"}
        assert all(name.endswith("_total") == (family.type == "counter") for name in names)


def test_units_are_base_units_at_the_end_of_the_name(families: Sequence[Metric]) -> None:
    for family in families:
        name = family.name.removesuffix("_total")
        assert not re.search(OTHER_UNITS, f"{name} "), name
        for unit in ("seconds", "bytes"):
            assert unit not in name.split("_")[:-1], name


def test_names_are_lower_case_with_a_prefix(families: Sequence[Metric]) -> None:
    for family in families:
        assert re.fullmatch("(rokuga|process)(_[a-z0-9]+)+", family.name)


def test_nanoseconds_are_exported_as_seconds() -> None:
    (family, *_) = text_string_to_metric_families(exposition({"event_loop_lag_ns": 1_500_000}, "1.2.3").decode())
    assert (family.name, family.samples[0].value) == ("rokuga_event_loop_lag_seconds", 0.0015)


def test_the_process_and_the_build_are_described(families: Sequence[Metric]) -> None:
    by_name = {family.name: family for family in families}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= by_name.keys()
    (sample,) = by_name["rokuga_build_info"].samples
    assert sample.value == 1
    assert sample.labels["version"] == "1.2.3"
    assert sample.labels.keys() == {"version", "python", "compiled"}


@pytest.mark.system
def test_promtool_reports_no_problem(text: str) -> None:
    if not PROMTOOL.exists():
        lacks("promtool is installed by tests/tools/install.sh")
    run = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
