"""A daemon in a process of its own, as a test uses it, and the relay that records what its consumer accepted.

Only the standard library is imported, and nothing is asynchronous: it runs in the tests of any project.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, Final

from rokuga.devtools.loopback import loopback_environment

READY_S: Final = 20.0
END_S: Final = 20.0


class WebhookRelay(ThreadingHTTPServer):
    """Forwards every webhook request to the consumer unchanged, and records the events that it accepted.

    Without a consumer (`url` None) every event is accepted.
    """

    def __init__(self, url: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _RelayRequest)
        self.url = url
        self.events: list[dict[str, Any]] = []
        self.changed = threading.Condition()

    def record(self, body: bytes) -> None:
        """Append an event that the consumer accepted."""
        with self.changed:
            self.events.append(json.loads(body))
            self.changed.notify_all()


class _RelayRequest(BaseHTTPRequestHandler):
    server: WebhookRelay

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status = self._forward(body)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
        if 200 <= status < 300:
            self.server.record(body)

    def _forward(self, body: bytes) -> int:
        if self.server.url is None:
            return 200
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.server.url, body, headers)) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 502

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the parameter's name in the standard library
        """Log nothing: the output belongs to the tests."""


class RokugaRecorder:
    """A running daemon. Clients of the test's own use `api_url`, `signaling_url` and `archive_dir`."""

    def __init__(self, folder: Path, relay: WebhookRelay) -> None:
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
            stdin=subprocess.PIPE,  # the daemon ends when this pipe closes, however this process ends
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches pytest alone, which then stops the daemon in order
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
        """All events that the consumer has accepted, in that order."""
        with self._relay.changed:
            return list(self._relay.events)

    def start_recording(self, channel_id: str = "test", expire_time: int = 0, **parameters: Any) -> dict[str, Any]:
        """Start a recording and return the API's response; `parameters` are those of StartRecording.

        Raises urllib.error.HTTPError if the API refuses.
        """
        response: dict[str, Any] = self.call(
            "StartRecording", channel_id=channel_id, expire_time=expire_time, **parameters
        )
        return response

    def stop_recording(self, channel_id: str = "test") -> dict[str, Any]:
        """Stop a recording. Raises urllib.error.HTTPError if the API refuses."""
        response: dict[str, Any] = self.call("StopRecording", channel_id=channel_id)
        return response

    def call(self, operation: str, **body: Any) -> Any:
        """Call a target, of version `Sora_20161101` unless it has another prefix, and return the response."""
        target = operation if "." in operation else f"Sora_20161101.{operation}"
        headers = {"x-sora-target": target, "content-type": "application/json"}
        request = urllib.request.Request(self.api_url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def publish(self, channel_id: str = "test", seconds: float = 2.0, clip: Path | None = None) -> None:
        """Publish a clip (WebM with VP9 or VP8 and Opus) for `seconds`, and return when it has ended.

        Raises subprocess.CalledProcessError if it cannot be published.
        """
        subprocess.run(self._publish_command(channel_id, seconds, clip), check=True, capture_output=True)

    def publish_in_background(
        self, channel_id: str = "test", seconds: float = 60.0, clip: Path | None = None
    ) -> None:
        """Start to publish, and return at once; it ends after `seconds`, or with the fixture."""
        command = self._publish_command(channel_id, seconds, clip)
        self._publishers.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        )

    def wait_for_event(self, event_type: str, timeout_s: float = 20.0, **data: Any) -> dict[str, Any]:
        """Wait for the first accepted event of this type whose `data` contains these values, and return it.

        Raises TimeoutError.
        """
        end = time.monotonic() + timeout_s
        with self._relay.changed:
            while True:
                for event in self._relay.events:
                    if event["type"] == event_type and data.items() <= event["data"].items():
                        return event
                if not self._relay.changed.wait(end - time.monotonic()):
                    seen = [event["type"] for event in self._relay.events]
                    raise TimeoutError(f"no {event_type} with {data} within {timeout_s} s; there were {seen}")

    def stop(self) -> None:
        """End the publishers and the daemon, which finishes its files first."""
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
        options = ["--url", self.signaling_url, "--channel", channel_id, "--seconds", str(seconds), "--loop"]
        return _command("publish", str(sample), *options)

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
