"""The Grafana dashboard queries metrics that exist: rates of counters, values of gauges, their labels."""

import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rokuga.api.monitoring.endpoint import exposition
from rokuga.api.monitoring.metrics import METRICS
from tests.end_to_end.daemon import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
LABELS = {f"{row.exported_name}_total": row.label for row in METRICS.values() if row.label}


@pytest.fixture(scope="module")
def kinds() -> dict[str, str]:
    """The type of each sample of /metrics, by name."""
    text = exposition({name: {"x": 1} if row.label else 1 for name, row in METRICS.items()}, "").decode()
    return {sample.name: family.type for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.mark.parametrize("expression", [*EXPRESSIONS, DASHBOARD["templating"]["list"][1]["query"]["query"]])
def test_every_query_uses_existing_metrics(kinds: dict[str, str], expression: str) -> None:
    names = re.findall(r"rokuga_\w+", expression)
    assert names
    rated = re.findall(r"rate\((rokuga_\w+)\{[^}]*\}\[\$__rate_interval\]\)", expression)
    assert {name: kinds.get(name) for name in names} == {
        name: "counter" if name in rated else "gauge" for name in names
    }
    for by, name in re.findall(r"by \((\w+)\) \(rate\((\w+)", expression):
        assert LABELS[name] == by


def test_panels_do_not_overlap_and_use_the_selected_source_and_instances() -> None:
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all('{instance=~"$instance"}' in expression for expression in EXPRESSIONS)
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${source}"}
