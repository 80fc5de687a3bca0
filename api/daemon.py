"""The daemon: builds all parts, starts them in order, and stops them in reverse order.

Start: the locks of the directories and the ports come first, so that a daemon that cannot have them has changed
nothing. Then the store and recovery, the servers, and last the delivery of events.

Stop: clients are disconnected and files finished, the servers close, events are stored, the dispatcher has its grace
time, the store closes, the directories are unlocked.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import structlog

from rokuga.api.admin.endpoint import Admin
from rokuga.api.app import api_app, signaling_app
from rokuga.api.compiled import is_compiled
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.http.certificates import certificate_files, reload_certificates
from rokuga.api.http.connection_limits import ConnectionCounts
from rokuga.api.http.middleware import RefusedRequests
from rokuga.api.http.server import listen, serve
from rokuga.api.monitoring.health import Disk, Health, Probe
from rokuga.api.monitoring.memory import find_malloc_trim, trim_memory_periodically
from rokuga.api.monitoring.metrics import Source
from rokuga.api.monitoring.systemd import Systemd
from rokuga.api.signaling.channels import ChannelMembers
from rokuga.api.signaling.conversation import ChooseRedirect, no_redirect
from rokuga.api.signaling.redirection import Redirection
from rokuga.api.storage import ArchiveDirectory, owned_directories
from rokuga.api.store import OpenStore, open_store
from rokuga.api.whip.sessions import WhipSessions
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
from rokuga.webhooks.consumer import webhook_consumer
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.outbox import Outbox

log = structlog.get_logger()

SERVER_DIRECTION: Mapping[str, Direction] = {"sendonly": "recvonly", "sendrecv": "sendrecv", "recvonly": "sendonly"}
"""The direction of our media description, by the client's role."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running daemon is reached, with the ports that were bound."""

    api_url: str
    signaling_url: str
    media_port: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """The running parts below the servers."""

    config: DaemonConfig
    clock: Clock
    archive_dir: ArchiveDirectory
    media_port: MediaPort
    channels: ChannelMembers
    opened: OpenStore
    outbox: Outbox
    dispatcher: Dispatcher
    recorder: Recorder
    authenticator: AuthWebhook | None


@contextlib.asynccontextmanager
async def running(config: DaemonConfig) -> AsyncIterator[Addresses]:
    """Run the whole daemon until the end of the context. Raises what prevents its start."""
    check_aiortc()
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
        parts, delivery = await _start_parts(stack, config, archive_dir)
        counts, refused = ConnectionCounts(), RefusedRequests(parts.clock)
        disk = Disk(parts.recorder.free_bytes, config.recorder.archive_min_free_bytes)
        health = await enter(_health(parts, disk))
        context = AppContext(
            parts.recorder,
            config,
            parts.clock,
            refused,
            parts.channels,
            authenticator=parts.authenticator,
            redirect_url=_redirect(parts),
            metric_sources=[*_sources(parts), counts.counters, refused.counters, health.counters, disk.counters],
            health=health,
            admin=Admin(parts.recorder, parts.outbox, config) if config.admin_enabled else None,
            whip_sessions=(whip_sessions := WhipSessions(parts.channels)),
        )
        certificate, certificates = certificate_files(config)
        api = await enter(serve(api_app(context), config.api_host, listeners[0], config, counts, certificate))
        await enter(whip_sessions)
        signaling = await enter(
            serve(signaling_app(context), config.signaling_host, listeners[1], config, counts, certificate)
        )
        stack.push_async_callback(parts.recorder.end)
        if context.admin is not None:
            await enter(context.admin.watch)
        await enter(background(reload_certificates(certificates, parts.clock)))
        await delivery.enter_async_context(parts.dispatcher)
        tls = "" if config.tls_certificate is None else "s"
        yield Addresses(f"http{tls}://{api}/", f"ws{tls}://{signaling}/signaling", parts.media_port.port)


async def _start_parts(
    stack: contextlib.AsyncExitStack, config: DaemonConfig, archive_dir: ArchiveDirectory
) -> tuple[_Parts, contextlib.AsyncExitStack]:
    """Start what the servers need; `stack` stops it.

    The dispatcher is returned unstarted, with the stack to enter it on: it starts last, and stops after the recorder.
    """
    enter = stack.enter_async_context
    clock, media = Clock(), config.recorder
    port = await enter(MediaPort(media.media_port, media.media_addresses, clock, with_tcp=media.media_tcp))
    channels = ChannelMembers(clock)
    path = config.data_dir / "rokuga.sqlite3"
    opened = await enter(open_store(config, path, clock, channels.total))
    outbox = await enter(Outbox(path, opened.store, config.webhooks, clock))
    await enter(opened.releases(outbox))
    consumer = webhook_consumer(config.webhooks)
    dispatcher = Dispatcher(outbox, consumer, config.webhooks, clock, owner_of=opened.owner_of)
    delivery = await enter(contextlib.AsyncExitStack())
    peers = PeerContext(port, Certificates(), media, clock)

    def make_peer(request: ConnectionRequest, hooks: PeerHooks) -> WebRtcPeer:
        return WebRtcPeer(peers, _media_offer(request, media), hooks, client_address=request.client_address)

    recorder = await enter(
        Recorder(media, opened.store, make_peer, clock, outbox.notify, check_archive_dir=archive_dir.check)
    )
    authenticator = None
    if config.auth_webhook_url is not None:
        authenticator = await enter(AuthWebhook(config.auth_webhook_url, config.webhooks, clock))
    parts = _Parts(config, clock, archive_dir, port, channels, opened, outbox, dispatcher, recorder, authenticator)
    return parts, delivery


def _media_offer(request: ConnectionRequest, config: RecorderConfig) -> MediaOffer:
    return MediaOffer(
        audio=request.audio,
        video=request.video,
        direction=SERVER_DIRECTION[request.role],
        mid_suffix=secrets.token_hex(3),
        video_bit_rate_kbps=config.video_bit_rate_kbps,
    )


def _health(parts: _Parts, disk: Disk) -> Health:
    probes: dict[str, Probe] = {
        "writer": disk.measure,
        "disk": disk.probe,
        "outbox": parts.outbox.probe,
        "archive_dir": parts.archive_dir.probe,
        "media": parts.media_port.probe,
        **parts.opened.probes,
    }
    return Health(probes, parts.clock, lambda: [*parts.opened.notes, *parts.recorder.recovery_notes()])


def _sources(parts: _Parts) -> list[Source]:
    """Return the sources of metrics, in the order in which /metrics has them."""
    sources: list[Source] = [parts.recorder.counters, parts.media_port.totals, parts.dispatcher.counters]
    if parts.authenticator is not None:
        sources.append(parts.authenticator.counters)
    return [*sources, parts.outbox.counters, *parts.opened.counters]


def _redirect(parts: _Parts) -> ChooseRedirect:
    if not parts.config.cluster.redirect:
        return no_redirect
    redirection = Redirection(parts.config.recorder.node_name)

    def redirect_url() -> str | None:
        return redirection.redirect_url(
            len(parts.recorder.connections()), parts.opened.nodes_up(), parts.clock.monotonic_ns()
        )

    return redirect_url


async def run_until_signal(config: DaemonConfig, *, ends_with_stdin: bool = False) -> None:
    """Run until SIGTERM or SIGINT. A second signal exits at once; what was committed is kept.

    With `ends_with_stdin` also until standard input is closed, as when the parent process ends.
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
    async with (
        Systemd(os.environ) as systemd,
        running(config) as addresses,
        trim_memory_periodically(find_malloc_trim()),
    ):
        tune_garbage_collection()
        where = {"api": addresses.api_url, "signaling": addresses.signaling_url, "media_port": addresses.media_port}
        log.info("ready", **where, compiled=is_compiled())
        systemd.notify("READY=1")
        await ending.wait()
        log.info("ending")
        systemd.notify("STOPPING=1")
    log.info("ended")


def tune_garbage_collection() -> None:
    """Exempt the objects of the start from the cyclic garbage collector, and run it more rarely.

    Packets, access units and frames are freed by reference counting: none of them is part of a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
