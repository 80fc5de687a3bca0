"""The fronts as ASGI applications: the API on one port, signalling on another."""

from dataclasses import replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from rokuga.api.access import Hosts, Rules
from rokuga.api.config import DaemonConfig
from rokuga.api.counters import Source
from rokuga.api.guard import SERVER, Guard, Refusals
from rokuga.api.health import Health
from rokuga.api.monitoring import monitoring_routes
from rokuga.api.ports import Gatekeeper, RecordingService
from rokuga.api.signaling.channels import Channels
from rokuga.api.signaling.endpoint import SignalingEndpoint
from rokuga.api.targets.endpoint import ApiEndpoint
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import targets
from rokuga.recorder.clock import Clock


def api_app(
    recorder: RecordingService,
    config: DaemonConfig,
    *counters: Source,
    refusals: Refusals | None = None,
    health: Health | None = None,
) -> Starlette:
    """Give the API: POST /, everything else is 404 with an empty body. GetStatsReport reads the `counters`.

    Its guard wants the token, if there is one, and no pages of others but those of `api_cors_origin`; probes of
    `health` (/livez, /readyz) need no token, /metrics does.
    """
    limits = RecordingLimits(config.recording_max_expire_time, config.recording_max_split_duration)
    endpoint = ApiEndpoint(
        recorder,
        targets(limits, config.version, counters),
        config.api_cors_origin,
        server=SERVER,
        takes_token=config.api_bearer_token is not None,
    )
    monitoring = [] if health is None else monitoring_routes(health, counters)
    app = Starlette(routes=[Route("/", endpoint), *monitoring], exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    origins = () if config.api_cors_origin is None else (config.api_cors_origin.lower(),)
    rules = Rules(Hosts(config.api_host, config.allowed_hosts), origins, config.api_bearer_token)
    probed = replace(rules, token=None)
    exceptions = {"/": replace(rules, max_body_bytes=None), "/livez": probed, "/readyz": probed}
    app.add_middleware(Guard, rules=rules, exceptions=exceptions, refusals=refusals or Refusals(Clock()))
    return app


def signaling_app(
    recorder: RecordingService,
    config: DaemonConfig,
    channels: Channels | None = None,
    gatekeeper: Gatekeeper | None = None,
    refusals: Refusals | None = None,
) -> Starlette:
    """Give signalling: the WebSocket /signaling.

    Pages of all origins publish, so that /signaling takes any Host and Origin unless `signaling_origins` are
    configured. Whatever else is on this port wants a known Host, and no pages but its own.

    Raises ValueError where the configuration has an authentication webhook, and there is no gatekeeper to ask it.
    """
    if config.auth_webhook_url is not None and gatekeeper is None:
        raise ValueError("auth_webhook_url without a gatekeeper would let everybody in")
    clock = Clock()
    endpoint = SignalingEndpoint(recorder, channels or Channels(clock), clock, config.version, gatekeeper)
    app = Starlette(routes=[WebSocketRoute("/signaling", endpoint)], exception_handlers={404: _not_found})
    hosts = Hosts(config.signaling_host, config.allowed_hosts)
    publishing = Rules(hosts, config.signaling_origins) if config.signaling_origins else Rules(None, None)
    app.add_middleware(
        Guard, rules=Rules(hosts), exceptions={"/signaling": publishing}, refusals=refusals or Refusals(clock)
    )
    return app


def _not_found(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404, headers={"server": SERVER})
