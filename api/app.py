"""The ASGI applications: the API on one port; signalling, WHIP and the page on another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from rokuga.api.admin.access import AdminAccessMiddleware, AdminAccessPolicy
from rokuga.api.admin.endpoint import Admin
from rokuga.api.context import AppContext
from rokuga.api.http.address_text import is_loopback
from rokuga.api.http.middleware import SERVER, RequestPolicyMiddleware
from rokuga.api.http.request_policy import AllowedHosts, RequestPolicy
from rokuga.api.monitoring.endpoint import monitoring_routes
from rokuga.api.monitoring.metrics import Source
from rokuga.api.pages.site import Site
from rokuga.api.signaling.endpoint import SignalingEndpoint
from rokuga.api.targets.endpoint import ApiEndpoint
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.schema_routes import schema_routes
from rokuga.api.targets.table import targets
from rokuga.api.whip.endpoint import WhipHandlers
from rokuga.api.whip.resource import whip_routes


def api_app(context: AppContext) -> Starlette:
    """Return the application of the API's port. Paths that it does not have are 404 with an empty body.

    Requests need the token, if one is configured, and pages of other origins than `api_cors_origin` are refused.
    The probes /livez and /readyz need no token; /metrics does.
    """
    config, sources = context.config, context.metric_sources
    endpoint = _api_endpoint(context, sources, config.api_cors_origin)
    monitoring = [] if context.health is None else monitoring_routes(context.health, sources, config.version)
    routes = [Route("/", endpoint), *monitoring, *schema_routes(_limits(context))]
    origins = () if config.api_cors_origin is None else (config.api_cors_origin.lower(),)
    policy = RequestPolicy(AllowedHosts(config.api_host, config.allowed_hosts), origins, config.api_bearer_token)
    is_local_only = config.api_bearer_token is None and is_loopback(config.api_host)
    metrics = replace(policy, allows_missing_host=True)
    probes = replace(metrics, token=None)
    return _app(
        context,
        routes,
        policy,
        {
            "/": replace(policy, max_body_bytes=None, is_local_only=is_local_only),  # it limits bodies itself
            "/livez": probes,
            "/readyz": probes,
            "/metrics": metrics,
        },
    )


def signaling_app(context: AppContext) -> Starlette:
    """Return the application of the signalling port: the WebSocket /signaling, WHIP and the page.

    /signaling and WHIP accept any Host and Origin unless `signaling_origins` is configured, since pages of all
    origins publish. All other paths need a known Host, and are refused to pages of other origins.

    Raises ValueError where the configuration has an authentication webhook, and the context no authenticator.
    """
    config = context.config
    if config.auth_webhook_url is not None and context.authenticator is None:
        raise ValueError("auth_webhook_url without an authenticator would admit every client")
    routes: list[BaseRoute] = [WebSocketRoute("/signaling", SignalingEndpoint(context))]
    if context.admin is not None:
        routes += _page_routes(context, context.admin)
    if context.whip_sessions is not None:
        routes += whip_routes(WhipHandlers(context, context.whip_sessions), SERVER)
    hosts = AllowedHosts(config.signaling_host, config.allowed_hosts)
    publishing = RequestPolicy(None, None)
    if config.signaling_origins:
        publishing = RequestPolicy(hosts, config.signaling_origins)
    whip = replace(publishing, max_body_bytes=None)  # it limits bodies itself
    # /api needs the API's token unless the page asks for a password: both would use the same header.
    token = config.api_bearer_token if config.admin_basic_auth is None else None
    return _app(
        context,
        routes,
        RequestPolicy(hosts),
        {
            "/signaling": publishing,
            "/whip": whip,
            "/whip-session": whip,
            "/api": RequestPolicy(hosts, token=token, max_body_bytes=None),
        },
    )


def _app(
    context: AppContext, routes: Sequence[BaseRoute], policy: RequestPolicy, exceptions: Mapping[str, RequestPolicy]
) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    app.add_middleware(
        RequestPolicyMiddleware,
        policy=policy,
        exceptions=exceptions,
        refused=context.refused_requests,
        trusted=context.config.trusted_proxies,
        trusts_loopback=not context.config.is_behind_proxy,
    )
    return app


def _limits(context: AppContext) -> RecordingLimits:
    return RecordingLimits(context.config.recording_max_expire_time, context.config.recording_max_split_duration)


def _api_endpoint(context: AppContext, sources: Sequence[Source], cors_origin: str | None) -> ApiEndpoint:
    accepts_token = context.config.api_bearer_token is not None
    table = targets(_limits(context), context.config.version, sources)
    return ApiEndpoint(context.recorder, table, cors_origin, server=SERVER, accepts_token=accepts_token)


def _page_routes(context: AppContext, admin: Admin) -> list[BaseRoute]:
    """Return the routes of the page, /admin and /api: a page cannot reach the API on its own port."""
    config = context.config
    policy = AdminAccessPolicy(
        loopback_only=config.admin_loopback_address_only,
        basic_auth=config.admin_basic_auth,
        token=config.api_bearer_token,
        is_behind_proxy=config.is_behind_proxy,
    )

    def protected(app: ASGIApp) -> AdminAccessMiddleware:
        return AdminAccessMiddleware(app, policy)

    site = Site()
    page = Starlette(routes=[Route("/", site.respond)])
    modules = Starlette(routes=[Route("/{name}", site.respond)], exception_handlers={404: _not_found})
    return [
        Route("/", protected(page)),
        Mount("/pages", protected(modules)),
        Mount("/admin", protected(admin.app())),
        Route("/api", protected(_api_endpoint(context, (), None))),
    ]


def _not_found(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404, headers={"server": SERVER})
