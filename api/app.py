"""The fronts as ASGI applications: the API on one port, signalling on another."""

from collections.abc import Sequence
from dataclasses import replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from rokuga.api.admin.access import Access, Door
from rokuga.api.admin.endpoint import Admin
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.authority import is_loopback
from rokuga.api.http.middleware import SERVER, Refusals, RequestPolicyMiddleware
from rokuga.api.http.request_policy import Hosts, Rules
from rokuga.api.large_messages import LargeMessages
from rokuga.api.monitoring.endpoint import monitoring_routes
from rokuga.api.monitoring.health import Health
from rokuga.api.monitoring.metrics import Source
from rokuga.api.pages.site import Site
from rokuga.api.protocols import Authenticator, RecordingService
from rokuga.api.signaling.channels import Channels
from rokuga.api.signaling.conversation import Elsewhere, nowhere
from rokuga.api.signaling.endpoint import SignalingEndpoint
from rokuga.api.targets.endpoint import ApiEndpoint
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.schema_routes import schema_routes
from rokuga.api.targets.table import targets
from rokuga.api.whip.endpoint import Whip
from rokuga.api.whip.limits import PublishLimits
from rokuga.api.whip.resource import whip_routes
from rokuga.api.whip.sessions import Sessions
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
    endpoint = api_endpoint(recorder, config, counters, config.api_cors_origin)
    monitoring = [] if health is None else monitoring_routes(health, counters, config.version)
    limits = RecordingLimits(config.recording_max_expire_time, config.recording_max_split_duration)
    routes = [Route("/", endpoint), *monitoring, *schema_routes(limits)]
    app = Starlette(routes=routes, exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    origins = () if config.api_cors_origin is None else (config.api_cors_origin.lower(),)
    rules = Rules(Hosts(config.api_host, config.allowed_hosts), origins, config.api_bearer_token)
    is_local_only = config.api_bearer_token is None and is_loopback(config.api_host)
    driving = replace(rules, max_body_bytes=None, is_local_only=is_local_only)
    numbers = replace(rules, takes_no_host=True)
    probed = replace(numbers, token=None)
    exceptions = {"/": driving, "/livez": probed, "/readyz": probed, "/metrics": numbers}
    app.add_middleware(
        RequestPolicyMiddleware,
        rules=rules,
        exceptions=exceptions,
        refusals=refusals or Refusals(Clock()),
        trusted=config.trusted_proxies,
        knows_local=not config.is_behind_proxy,
    )
    return app


def api_endpoint(
    recorder: RecordingService, config: DaemonConfig, counters: Sequence[Source], cors_origin: str | None
) -> ApiEndpoint:
    """Give the API itself."""
    limits = RecordingLimits(config.recording_max_expire_time, config.recording_max_split_duration)
    takes_token = config.api_bearer_token is not None
    table = targets(limits, config.version, counters)
    return ApiEndpoint(recorder, table, cors_origin, server=SERVER, takes_token=takes_token)


def signaling_app(
    recorder: RecordingService,
    config: DaemonConfig,
    channels: Channels | None = None,
    authenticator: Authenticator | None = None,
    refusals: Refusals | None = None,
    admin: Admin | None = None,
    whip_sessions: Sessions | None = None,
    elsewhere: Elsewhere = nowhere,
) -> Starlette:
    """Give signalling: the WebSocket /signaling, and with `admin` the page.

    Pages of all origins publish, so that /signaling and WHIP take any Host and Origin unless `signaling_origins` are
    configured. Whatever else is on this port wants a known Host, and no pages but its own.

    With `whip_sessions`, of the same channels, there is WHIP as well. `elsewhere` sends clients of signalling to
    other nodes; WHIP's stay.

    Raises ValueError where the configuration has an authentication webhook, and there is no authenticator to ask it.
    """
    if config.auth_webhook_url is not None and authenticator is None:
        raise ValueError("auth_webhook_url without a authenticator would let everybody in")
    clock = Clock()
    large = LargeMessages()
    endpoint = SignalingEndpoint(
        recorder, channels or Channels(clock), clock, config.version, authenticator, elsewhere, large
    )
    routes: list[BaseRoute] = [WebSocketRoute("/signaling", endpoint)]
    if admin is not None:
        routes += page_routes(recorder, config, admin)
    if whip_sessions is not None:
        limits = PublishLimits(clock.monotonic_ns, config.max_connects_per_second, config.max_connections)
        whip = Whip(recorder, whip_sessions, authenticator, config.whip_bearer_token, limits, large)
        routes += whip_routes(whip, SERVER)
    app = Starlette(routes=routes, exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    hosts = Hosts(config.signaling_host, config.allowed_hosts)
    publishing = Rules(hosts, config.signaling_origins) if config.signaling_origins else Rules(None, None)
    # The page's way to the API wants the API's token, unless a password was asked for: one header has room for one.
    token = config.api_bearer_token if config.admin_basic_auth is None else None
    counts_itself = replace(publishing, max_body_bytes=None)
    exceptions = {
        "/signaling": publishing,
        "/whip": counts_itself,
        "/whip-session": counts_itself,
        "/api": Rules(hosts, token=token, max_body_bytes=None),
    }
    app.add_middleware(
        RequestPolicyMiddleware,
        rules=Rules(hosts),
        exceptions=exceptions,
        refusals=refusals or Refusals(clock),
        trusted=config.trusted_proxies,
        knows_local=not config.is_behind_proxy,
    )
    return app


def page_routes(recorder: RecordingService, config: DaemonConfig, admin: Admin) -> list[BaseRoute]:
    """Give the page and what it uses: /admin, and at /api the API, which it could not reach on another port."""

    door = Door(
        loopback_only=config.admin_loopback_address_only,
        basic_auth=config.admin_basic_auth,
        token=config.api_bearer_token,
        is_behind_proxy=config.is_behind_proxy,
    )

    def behind(app: ASGIApp) -> Access:
        return Access(app, door)

    site = Site()
    page = Starlette(routes=[Route("/", site.answer)])
    modules = Starlette(routes=[Route("/{name}", site.answer)], exception_handlers={404: _not_found})
    return [
        Route("/", behind(page)),
        Mount("/pages", behind(modules)),
        Mount("/admin", behind(admin.app())),
        Route("/api", behind(api_endpoint(recorder, config, (), None))),
    ]


def _not_found(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404, headers={"server": SERVER})
