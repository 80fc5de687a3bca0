"""A small consumer of the webhooks, as somebody could have written it: an index of files, each listed once."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Index(ThreadingHTTPServer):
    """Lists every archive that was announced, and knows which recordings are complete."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.url = f"http://127.0.0.1:{self.server_port}/webhook"
        self.files: list[str] = []
        self.complete: set[str] = set()
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def take(self, event: dict) -> None:
        """Take an event; one that comes again changes nothing."""
        with self._lock:
            if event["id"] in self._seen:
                return
            self._seen.add(event["id"])
            if event["type"] in {"archive.available", "split-archive.available"}:
                self.files.append(event["data"]["file_path"])
            if event["type"] == "recording.report":
                self.complete.add(event["data"]["recording_id"])


class _Request(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.take(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Be quiet."""
