"""NamespaceNetwork namespaces: machines with addresses, links and filters of their own, all in this process.

A socket belongs to the namespace in which it was created, whichever the thread is in afterwards.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.machine import lacks

CLONE_NEWNET = 0x40000000

Interface = tuple[str, str]
"""A machine, and the name of an interface of it."""


class NamespaceNetwork:
    """Machines by name, each a namespace; `close` removes them."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def machine(self, name: str) -> None:
        """Add a machine that has loopback only."""
        _run("ip", "netns", "add", machine_of(name))
        self._names.append(name)
        self.run(name, "ip", "link", "set", "lo", "up")

    def link(self, one: Interface, other: Interface, *addresses: tuple[str, str], mtu: int = 1500) -> None:
        """Link two interfaces; each pair of addresses has one for each end."""
        _run(
            "ip", "link", "add", one[1], "netns", machine_of(one[0]), "mtu", str(mtu),
            "type", "veth", "peer", other[1], "netns", machine_of(other[0]), "mtu", str(mtu),
        )  # fmt: skip
        for place, (machine, interface) in enumerate((one, other)):
            for pair in addresses:
                self.run(machine, "ip", "addr", "add", pair[place], "dev", interface, *_nodad(pair[place]))
            self.run(machine, "ip", "link", "set", interface, "up")

    def run(self, machine: str, *command: str) -> None:
        """Run a command on a machine. Raises CalledProcessError."""
        _run("ip", "netns", "exec", machine_of(machine), *command)

    @contextlib.contextmanager
    def on(self, machine: str) -> Iterator[None]:
        """Create sockets on a machine inside of the context."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            Path("/proc/thread-self/ns/net").open() as ours,
            Path(f"/run/netns/{machine_of(machine)}").open() as theirs,
        ):
            assert libc.setns(theirs.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(ours.fileno(), CLONE_NEWNET) == 0

    def close(self) -> None:
        """Remove all machines."""
        for name in self._names:
            _run("ip", "netns", "del", machine_of(name))


@contextlib.contextmanager
def networked(*machines: str) -> Iterator[NamespaceNetwork]:
    """Create a network of machines; skip the test where namespaces cannot be created."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("iptables"):
        lacks("network namespaces need root, iproute2 and iptables")
    network = NamespaceNetwork()
    try:
        try:
            for machine in machines:
                network.machine(machine)
        except subprocess.CalledProcessError as error:
            lacks(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield network
    finally:
        network.close()


def machine_of(name: str) -> str:
    """Return the name of a machine's namespace, for `ip netns exec`."""
    return f"rokuga-{os.getpid()}-{name}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _nodad(address: str) -> tuple[str, ...]:
    """Return the option by which an IPv6 address can be used at once, without duplicate detection."""
    return ("nodad",) if ":" in address else ()
