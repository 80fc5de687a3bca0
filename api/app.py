"""The fronts as ASGI applications: the API on one port, signalling on another."""

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from rokuga.api.config import DaemonConfig
from rokuga.api.counters import Source
from rokuga.api.ports import Gatekeeper, RecordingService
from rokuga.api.signaling.channels import Channels
from rokuga.api.signaling.endpoint import SignalingEndpoint
from rokuga.api.targets.endpoint import ApiEndpoint
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import targets
from rokuga.recorder.clock import Clock

SERVER: Final = "Rokuga"
"""The `server` header. No version: nobody needs it who may not have it from GetStatsReport."""


def api_app(recorder: RecordingService, config: DaemonConfig, *counters: Source) -> Starlette:
    """Give the API: POST /, everything else is 404 with an empty body. GetStatsReport reads the `counters`."""
    limits = RecordingLimits(config.recording_max_expire_time, config.recording_max_split_duration)
    endpoint = ApiEndpoint(recorder, targets(limits, config.version, counters), config.api_cors_origin, server=SERVER)
    app = Starlette(routes=[Route("/", endpoint)], exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    return app


def signaling_app(
    recorder: RecordingService,
    config: DaemonConfig,
    channels: Channels | None = None,
    gatekeeper: Gatekeeper | None = None,
) -> Starlette:
    """Give signalling: the WebSocket /signaling.

    Raises ValueError where the configuration has an authentication webhook, and there is no gatekeeper to ask it.
    """
    if config.auth_webhook_url is not None and gatekeeper is None:
        raise ValueError("auth_webhook_url without a gatekeeper would let everybody in")
    clock = Clock()
    endpoint = SignalingEndpoint(recorder, channels or Channels(clock), clock, config.version, gatekeeper)
    return Starlette(routes=[WebSocketRoute("/signaling", endpoint)], exception_handlers={404: _not_found})


def _not_found(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404, headers={"server": SERVER})
