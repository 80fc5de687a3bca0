"""A pytest plugin for those who test consumers of the webhooks, and callers of the API: a real daemon in a fixture.

In the `conftest.py` of a project: `pytest_plugins = ["rokuga.devtools.pytest_plugin"]`, and a fixture
`rokuga_webhook_url` that says where the consumer under test listens. Nothing here needs asyncio, a
browser, or any knowledge of WebRTC.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pytest

from rokuga.devtools.loopback import loopback_environment

READY_S: Final = 20.0
END_S: Final = 20.0


class Relay(ThreadingHTTPServer):
    """Stands between daemon and consumer: passes every POST on unchanged, and keeps what the consumer took.

    Without a consumer (`url` None) everything is taken.
    """

    def __init__(self, url: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _RelayRequest)
        self.url = url
        self.events: list[dict[str, Any]] = []
        self.news = threading.Condition()

    def take(self, body: bytes) -> None:
        """Keep an event that the consumer took."""
        with self.news:
            self.events.append(json.loads(body))
            self.news.notify_all()


class _RelayRequest(BaseHTTPRequestHandler):
    server: Relay

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status = self._pass_on(body)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
        if 200 <= status < 300:
            self.server.take(body)

    def _pass_on(self, body: bytes) -> int:
        if self.server.url is None:
            return 200
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.server.url, body, headers)) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 502

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the parameter's name in the standard library
        """Say nothing: the test's output is the consumer's."""


class RokugaRecorder:
    """A running daemon. `api_url`, `signaling_url` and `archive_dir` are for callers of their own."""

    def __init__(self, folder: Path, relay: Relay) -> None:
        self.archive_dir = folder / "archive"
        self.api_url = ""
        self.signaling_url = ""
        self._relay = relay
        self._log: list[str] = []
        self._ready = threading.Event()
        self._publishers: list[subprocess.Popen[bytes]] = []
        url = f"http://127.0.0.1:{relay.server_port}/"
        environment = os.environ | loopback_environment(folder, event_webhook_url=url, log_format="json")
        self._process = subprocess.Popen(
            _command("run", "--end-with-stdin"),
            env=environment,
            stdin=subprocess.PIPE,  # it ends with this process, however this one ends
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for pytest, which ends it in order
        )
        self._reading = threading.Thread(target=self._read_log, daemon=True)
        self._reading.start()
        try:
            self._ready.wait(READY_S)
        finally:
            if not self.api_url:
                self.stop()
        if not self.api_url:
            raise RuntimeError("the daemon did not start:\n" + "".join(self._log))

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event that the consumer has taken, in that order."""
        with self._relay.news:
            return list(self._relay.events)

    def start_recording(self, channel_id: str = "test", expire_time: int = 0, **parameters: Any) -> dict[str, Any]:
        """Start a recording; `parameters` are those of StartRecording. Gives the answer.

        Raises urllib.error.HTTPError where the API refuses.
        """
        answer: dict[str, Any] = self.call(
            "StartRecording", channel_id=channel_id, expire_time=expire_time, **parameters
        )
        return answer

    def stop_recording(self, channel_id: str = "test") -> dict[str, Any]:
        """Stop a recording. Raises urllib.error.HTTPError where the API refuses."""
        answer: dict[str, Any] = self.call("StopRecording", channel_id=channel_id)
        return answer

    def call(self, operation: str, **body: Any) -> Any:
        """Call a target of the legacy API, `Sora_20161101.` if it has no other version."""
        target = operation if "." in operation else f"Sora_20161101.{operation}"
        headers = {"x-sora-target": target, "content-type": "application/json"}
        request = urllib.request.Request(self.api_url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def publish(self, channel_id: str = "test", seconds: float = 2.0, clip: Path | None = None) -> None:
        """Publish a clip (a WebM with VP9 or VP8 and Opus) for so long, and come back when it is over.

        Raises subprocess.CalledProcessError where it cannot be published.
        """
        subprocess.run(self._publish_command(channel_id, seconds, clip), check=True, capture_output=True)

    def publish_in_background(
        self, channel_id: str = "test", seconds: float = 60.0, clip: Path | None = None
    ) -> None:
        """Begin to publish; ends after `seconds`, or with the fixture."""
        command = self._publish_command(channel_id, seconds, clip)
        self._publishers.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        )

    def wait_for_event(self, event_type: str, timeout_s: float = 20.0, **data: Any) -> dict[str, Any]:
        """Give the first event of this type whose `data` has these values, once the consumer has taken it.

        Raises TimeoutError.
        """
        end = time.monotonic() + timeout_s
        with self._relay.news:
            while True:
                for event in self._relay.events:
                    if event["type"] == event_type and data.items() <= event["data"].items():
                        return event
                if not self._relay.news.wait(end - time.monotonic()):
                    seen = [event["type"] for event in self._relay.events]
                    raise TimeoutError(f"no {event_type} with {data} within {timeout_s} s; there were {seen}")

    def stop(self) -> None:
        """End publishers and daemon; what is recorded is whole afterwards."""
        for process in (*self._publishers, self._process):
            process.terminate()
        for process in (*self._publishers, self._process):
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reading.join()

    def _publish_command(self, channel_id: str, seconds: float, clip: Path | None) -> list[str]:
        sample = clip or Path(str(resources.files("rokuga").joinpath("samples/vp9-opus.webm")))
        about = ["--url", self.signaling_url, "--channel", channel_id, "--seconds", str(seconds), "--loop"]
        return _command("publish", str(sample), *about)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._log.append(line.decode(errors="replace"))
                if b'"ready"' in line:
                    entry = json.loads(line)
                    self.api_url, self.signaling_url = entry["api"], entry["signaling"]
                    self._ready.set()
        self._ready.set()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rokuga", *arguments]


@pytest.fixture
def rokuga_webhook_url() -> str | None:
    """Where the consumer under test takes events; override it. None: nobody but the test looks at them."""
    return None


@pytest.fixture
def rokuga_recorder(
    tmp_path_factory: pytest.TempPathFactory, rokuga_webhook_url: str | None
) -> Iterator[RokugaRecorder]:
    """A daemon on free ports with an archive of its own; it ends with the test."""
    with Relay(rokuga_webhook_url) as relay:
        serving = threading.Thread(target=relay.serve_forever, args=(0.05,))
        serving.start()
        try:
            recorder = RokugaRecorder(tmp_path_factory.mktemp("rokuga"), relay)
            try:
                yield recorder
            finally:
                recorder.stop()
        finally:
            relay.shutdown()
            serving.join()
