"""Start the daemon.

The composition root: who is built from what, and who stops after whom. The nesting is the shutdown order, inside out:
connections finish their files and clients are told why, fronts close, events reach the outbox, the dispatcher gets
its grace time, the store closes, the directories are unlocked.

The start is in an order, too: whoever cannot own the directories, or cannot have the ports, has touched nothing that
another daemon works with. Then what the last process left is recovered, and events are delivered last.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from rokuga.api.admin.endpoint import Admin
from rokuga.api.app import api_app, signaling_app
from rokuga.api.compiled import is_compiled
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.certificates import follow_certificates, shown
from rokuga.api.http.connection_limits import Refused
from rokuga.api.http.middleware import Refusals
from rokuga.api.http.server import listen, serve
from rokuga.api.monitoring.health import Disk, Health, Probe
from rokuga.api.monitoring.memory import find_trim, trimming
from rokuga.api.monitoring.metrics import Source
from rokuga.api.monitoring.systemd import Systemd
from rokuga.api.signaling.channels import Channels
from rokuga.api.signaling.redirection import Redirection
from rokuga.api.storage import owned_directories
from rokuga.api.store import open_store
from rokuga.api.whip.sessions import Sessions
from rokuga.recorder.background import background
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.peer import PeerHooks
from rokuga.recorder.service import Recorder
from rokuga.recorder.webrtc.dtls.transport import Certificates, check_aiortc
from rokuga.recorder.webrtc.peer import PeerContext, WebRtcPeer
from rokuga.recorder.webrtc.sdp.offer_and_answer import Direction, MediaOffer
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from rokuga.webhooks.auth import AuthWebhook
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.outbox import Outbox

log = structlog.get_logger()

OUR_DIRECTION: dict[str, Direction] = {"sendonly": "recvonly", "sendrecv": "sendrecv", "recvonly": "sendonly"}
"""A client's role, as our end of it."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the daemon can be reached, ports as they really are."""

    api_url: str
    signaling_url: str
    media_port: int


@contextlib.asynccontextmanager
async def running(config: DaemonConfig) -> AsyncIterator[Addresses]:
    """Run the whole daemon until the end of the context. Raises what keeps it from starting."""
    check_aiortc()
    clock = Clock()
    path = config.data_dir / "rokuga.sqlite3"
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        archive_dir = await enter(owned_directories(config))
        listeners = [
            stack.enter_context(contextlib.closing(listen(host, port)))
            for host, port in (
                (config.api_host, config.api_port),
                (config.signaling_host, config.signaling_port),
            )
        ]
        media = config.recorder
        port = await enter(MediaPort(media.media_port, media.media_addresses, clock, with_tcp=media.media_tcp))
        channels = Channels(clock)
        opened = await enter(open_store(config, path, clock, channels.total))
        store = opened.store
        outbox = await enter(Outbox(path, store, config.webhooks, clock))
        await enter(opened.releases(outbox))
        dispatcher = Dispatcher(outbox, config.webhooks, clock, whose=opened.whose)
        delivering = await enter(contextlib.AsyncExitStack())  # it starts last, and ends after the recorder
        peers = PeerContext(port, Certificates(), config.recorder, clock)

        def make_peer(request: ConnectionRequest, hooks: PeerHooks) -> WebRtcPeer:
            return WebRtcPeer(peers, _offer(request, config.recorder), hooks, client_address=request.client_address)

        recorder = await enter(
            Recorder(config.recorder, store, make_peer, clock, outbox.notify, check_archive_dir=archive_dir.check)
        )
        refused, refusals = Refused(), Refusals(clock)
        counters: list[Source] = [recorder.counters, port.totals, dispatcher.counters]
        counters += [refused.counters, refusals.counters]
        authenticator = None
        if config.auth_webhook_url is not None:
            authenticator = await enter(AuthWebhook(config.auth_webhook_url, config.webhooks, clock))
            counters.append(authenticator.counters)
        disk = Disk(recorder.free_bytes, config.recorder.archive_min_free_bytes)
        probes: dict[str, Probe] = {"writer": disk.measure, "disk": disk.probe, "outbox": outbox.probe}
        probes |= {"archive_dir": archive_dir.probe, "media": port.probe, **opened.probes}
        health = await enter(Health(probes, clock, lambda: [*opened.notes, *recorder.recovery_notes()]))
        counters += [outbox.counters, health.counters, disk.counters, *opened.counters]
        certificate, certificate_files = shown(config)
        back = api_app(recorder, config, *counters, refusals=refusals, health=health)
        api = await enter(serve(back, config.api_host, listeners[0], config, refused, certificate))
        admin = Admin(recorder, outbox, config) if config.admin_enabled else None
        whip = await enter(Sessions(channels))
        redirection = Redirection(config.recorder.node_name)

        def elsewhere() -> str | None:
            if not config.cluster.redirect:
                return None
            return redirection.redirect_url(len(recorder.connections()), opened.nodes_up(), clock.monotonic_ns())

        front = signaling_app(
            recorder, config, channels, authenticator, refusals, admin=admin, whip_sessions=whip, elsewhere=elsewhere
        )
        signaling = await enter(serve(front, config.signaling_host, listeners[1], config, refused, certificate))
        stack.push_async_callback(recorder.end)
        if admin is not None:
            await enter(admin.watch)
        await enter(background(follow_certificates(certificate_files, clock)))
        await delivering.enter_async_context(dispatcher)
        tls = "" if config.tls_certificate is None else "s"
        yield Addresses(f"http{tls}://{api}/", f"ws{tls}://{signaling}/signaling", port.port)


def _offer(request: ConnectionRequest, config: RecorderConfig) -> MediaOffer:
    """Return what is offered to a client."""
    return MediaOffer(
        audio=request.audio,
        video=request.video,
        direction=OUR_DIRECTION[request.role],
        mid_suffix=secrets.token_hex(3),
        video_bit_rate_kbps=config.video_bit_rate_kbps,
    )


async def run_until_signal(config: DaemonConfig, *, ends_with_stdin: bool = False) -> None:
    """Run until SIGTERM or SIGINT; a second one ends at once, with all that was committed kept.

    With `ends_with_stdin` also until the other end of standard input is closed, as by the end of the parent process.
    """
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    def end() -> None:
        if ending.is_set():
            os._exit(1)
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if ends_with_stdin:
        stdin = sys.stdin.fileno()

        def read() -> None:
            if not os.read(stdin, 4096):
                loop.remove_reader(stdin)
                ending.set()

        loop.add_reader(stdin, read)
    async with Systemd(os.environ) as systemd, running(config) as addresses, trimming(find_trim()):
        spare_collector()
        where = {"api": addresses.api_url, "signaling": addresses.signaling_url, "media_port": addresses.media_port}
        log.info("ready", **where, compiled=is_compiled())
        systemd.tell("READY=1")
        await ending.wait()
        log.info("ending")
        systemd.tell("STOPPING=1")
    log.info("ended")


def spare_collector() -> None:
    """Keep the cyclic collector from walking over what lives as long as the process, and from running all the time.

    Packets, units and frames are freed by their count of references: nothing of the media's way is a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
