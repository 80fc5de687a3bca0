"""An etcd cluster on this machine, for the demo and the tests: data in one folder, free ports."""

import contextlib
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

READY_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class EtcdServers:
    """Running servers, and the client URL of each."""

    endpoints: Sequence[str]
    processes: Sequence["subprocess.Popen[bytes]"]

    def pause(self, place: int) -> None:
        """Stop one server with SIGSTOP, as if it had lost its network."""
        self.processes[place].send_signal(signal.SIGSTOP)

    def resume(self, place: int) -> None:
        """Continue a paused server."""
        self.processes[place].send_signal(signal.SIGCONT)

    def wait_ready(self) -> None:
        """Wait until each server has a leader. Raises TimeoutError."""
        end_s = time.monotonic() + READY_TIMEOUT_S
        for endpoint in self.endpoints:
            while not _is_healthy(endpoint):
                if time.monotonic() > end_s:
                    raise TimeoutError(f"{endpoint} is not ready")
                time.sleep(0.05)


def _is_healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/health", timeout=1) as response:
            return b"true" in response.read()
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return distinct TCP ports that are free now."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def server_command(folder: Path, name: str, client: str, peers: dict[str, str]) -> list[str]:
    """Return the command of one server; `client` is its client URL, `peers` are all peer URLs by server name."""
    return [
        "etcd", "--name", name, "--data-dir", str(folder / name),
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name],
        "--initial-cluster", ",".join(f"{each}={url}" for each, url in peers.items()),
        "--logger", "zap", "--log-level", "error",
    ]  # fmt: skip


@contextlib.contextmanager
def serving(folder: Path, count: int) -> Iterator[EtcdServers]:
    """Run servers while the context is open; they are ready when it begins. Raises OSError, TimeoutError."""
    urls = [f"http://127.0.0.1:{port}" for port in free_ports(2 * count)]
    clients, peers = urls[:count], {f"etcd-{place}": url for place, url in enumerate(urls[count:])}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, client in zip(peers, clients, strict=True):
            with (folder / f"{name}.log").open("wb") as log:
                command = server_command(folder, name, client, peers)
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        servers = EtcdServers(clients, processes)
        servers.wait_ready()
        yield servers
    finally:
        for process in processes:
            process.kill()
            process.wait()
