"""A cluster of etcd on this machine, for those who try out several nodes: data in a folder, ports that were free."""

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

READY_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class EtcdServers:
    """Running servers, and where each is called."""

    endpoints: Sequence[str]
    processes: Sequence["subprocess.Popen[bytes]"]

    def pause(self, place: int) -> None:
        """Let one stand still, as if its network were gone."""
        self.processes[place].send_signal(signal.SIGSTOP)

    def go_on(self, place: int) -> None:
        """Let it go on."""
        self.processes[place].send_signal(signal.SIGCONT)

    def wait_ready(self) -> None:
        """Wait until each server has a leader. Raises TimeoutError."""
        end_s = time.monotonic() + READY_S
        for endpoint in self.endpoints:
            while not _is_healthy(endpoint):
                if time.monotonic() > end_s:
                    raise TimeoutError(f"{endpoint} is not ready")
                time.sleep(0.05)


def _is_healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/health", timeout=1) as answer:
            return b"true" in answer.read()
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Give ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def server_command(folder: Path, name: str, client: str, peers: dict[str, str]) -> list[str]:
    """Give the command of one server: called at the URL `client`, one of the `peers` (URLs by their names)."""
    return [
        "etcd", "--name", name, "--data-dir", str(folder / name),
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name],
        "--initial-cluster", ",".join(f"{each}={url}" for each, url in peers.items()),
        "--logger", "zap", "--log-level", "error",
    ]  # fmt: skip


@contextlib.contextmanager
def serving(folder: Path, count: int) -> Iterator[EtcdServers]:
    """Run servers until the end of the context; they are ready when it begins. Raises OSError, TimeoutError."""
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
