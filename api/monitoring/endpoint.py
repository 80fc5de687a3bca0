"""What monitors read on the API's port: /livez, /readyz, and /metrics in the form of Prometheus."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rokuga.api.monitoring.counters import COUNTERS, Number, Source, read_all
from rokuga.api.monitoring.health import Health


def monitoring_routes(health: Health, sources: Sequence[Source]) -> list[Route]:
    """Give the routes. /livez says that the event loop turns; /readyz is 503 with a fault for each part at fault.

    What a start found damaged, and set aside, is in `recovery`, which is there only then.
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
        return Response(exposition(await read_all(sources)), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", live), Route("/readyz", ready), Route("/metrics", metrics)]


def exposition(numbers: Mapping[str, Number]) -> bytes:
    """Give the numbers as Prometheus reads them, each with its row's text."""
    registry = CollectorRegistry()
    registry.register(_Numbers(numbers))
    return generate_latest(registry)


class _Numbers(Collector):
    """One reading."""

    def __init__(self, numbers: Mapping[str, Number]) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """Give a family for each number."""
        for name, number in self._numbers.items():
            row = COUNTERS[name]
            labels = [row.label] if row.label else []
            family = (GaugeMetricFamily if row.is_gauge else CounterMetricFamily)(
                f"rokuga_{name}", row.doc, labels=labels
            )
            for value, part in number.items() if isinstance(number, Mapping) else [(None, number)]:
                family.add_metric([] if value is None else [value], part)
            yield family
