"""Routes for monitors on the API's port: /livez, /readyz, and /metrics in Prometheus' text format."""

import platform
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rokuga.api.compiled import is_compiled
from rokuga.api.monitoring.health import Health
from rokuga.api.monitoring.metrics import METRICS, Number, Source, read_all


def monitoring_routes(health: Health, sources: Sequence[Source], version: str) -> list[Route]:
    """Return the routes.

    /livez answers 200 while the event loop runs. /readyz answers 503 with a fault for each part that has one, and
    lists in `recovery` what was found damaged at the start, if anything was.
    """

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(_request: Request) -> Response:
        faults = health.faults()
        body: dict[str, object] = {"status": "fault" if faults else "ok", "faults": faults}
        if notes := health.notes():
            body["recovery"] = list(notes)
        return JSONResponse(body, 503 if faults else 200)

    async def metrics(_request: Request) -> Response:
        return Response(exposition(await read_all(sources), version), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", live), Route("/readyz", ready), Route("/metrics", metrics)]


def exposition(numbers: Mapping[str, Number], version: str) -> bytes:
    """Return the numbers in Prometheus' text format, followed by `rokuga_build_info` and `process_*`."""
    registry = CollectorRegistry()
    registry.register(_Numbers(numbers, version))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Numbers(Collector):
    """One reading of all sources."""

    def __init__(self, numbers: Mapping[str, Number], version: str) -> None:
        self._numbers = numbers
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Return a metric family for each number, and the build's."""
        for name, number in self._numbers.items():
            row = METRICS[name]
            labels = [row.label] if row.label else []
            family = (GaugeMetricFamily if row.is_gauge else CounterMetricFamily)(
                row.exported_name, row.help, labels=labels
            )
            for value, part in number.items() if isinstance(number, Mapping) else [(None, number)]:
                family.add_metric([] if value is None else [value], row.exported(part))
            yield family
        build = {
            "version": self._version,
            "python": platform.python_version(),
            "compiled": "true" if is_compiled() else "false",
        }
        yield InfoMetricFamily("rokuga_build", "Version of Rokuga and of the interpreter.", value=build)
