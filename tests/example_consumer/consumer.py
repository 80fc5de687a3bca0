"""A small webhook consumer: an index of files that contains each file once."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Index(ThreadingHTTPServer):
    """An index of all announced archives and of the recordings that are complete."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.url = f"http://127.0.0.1:{self.server_port}/webhook"
        self.files: list[str] = []
        self.complete: set[str] = set()
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def add(self, event: dict) -> None:
        """Add an event; a repeated one changes nothing."""
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
        self.server.add(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""
