"""The context of the applications on both ports: the parts of the daemon that they call."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rokuga.api.admin.endpoint import Admin
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.middleware import RefusedRequests
from rokuga.api.monitoring.health import Health
from rokuga.api.monitoring.metrics import Source
from rokuga.api.parse_limiter import ParseLimiter
from rokuga.api.protocols import Authenticator, RecordingService
from rokuga.api.signaling.channels import ChannelMembers
from rokuga.api.signaling.conversation import ChooseRedirect, no_redirect
from rokuga.api.whip.sessions import WhipSessions
from rokuga.recorder.clock import Clock


@dataclass(frozen=True, slots=True)
class AppContext:
    """Everything that an application may need. What is optional is absent by default.

    Without `health` there are no routes for monitors, without `admin` no page, without `whip_sessions` no WHIP.
    An `authenticator`, if there is one, is asked about every client. `whip_sessions` are those of `channels`.
    """

    recorder: RecordingService
    config: DaemonConfig
    clock: Clock = field(default_factory=Clock)
    refused_requests: RefusedRequests = field(default_factory=lambda: RefusedRequests(Clock()))
    channels: ChannelMembers = field(default_factory=lambda: ChannelMembers(Clock()))
    parse_limiter: ParseLimiter = field(default_factory=ParseLimiter)
    authenticator: Authenticator | None = None
    redirect_url: ChooseRedirect = no_redirect
    metric_sources: Sequence[Source] = ()
    health: Health | None = None
    admin: Admin | None = None
    whip_sessions: WhipSessions | None = None
