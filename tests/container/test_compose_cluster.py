"""What compose.cluster.yaml promises, read as an engine would read it; its three etcd are run."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rokuga.api.config.loader import DaemonConfig, load_config
from rokuga.devtools.etcd_servers import EtcdServers, free_ports
from rokuga.recorder.config import ClusterConfig
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_wire import put
from rokuga.recorder.webrtc.transport.addresses import MediaAddress, parse_media_address
from tests.container.dockerfile import read_dockerfile
from tests.container.rehearsal import ROOT

NUMBERS = (1, 2, 3)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.cluster.yaml").read_text()))


@pytest.fixture(scope="module")
def configs(compose: dict[str, Any]) -> dict[int, DaemonConfig]:
    """What each node's environment configures, over that of the image."""
    lines = [each.words for each in read_dockerfile((ROOT / "Dockerfile").read_text()) if each.name == "ENV"]
    image = dict(word.split("=", 1) for words in lines for word in words)
    loaded = {n: load_config(None, image | compose["services"][f"node-{n}"]["environment"]) for n in NUMBERS}
    assert [warnings for _, warnings in loaded.values()] == [[], [], []]
    return {number: config for number, (config, _) in loaded.items()}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_node_finds_every_etcd_its_own_first(configs: dict[int, DaemonConfig], number: int) -> None:
    config = configs[number]
    order = [number, *(each for each in NUMBERS if each != number)]
    assert config.recorder.node_name == f"node-{number}"
    assert config.allowed_hosts == (f"node-{number}",)
    assert not config.admin_loopback_address_only  # the host's browser comes from the network's gateway
    assert config.cluster.endpoints == tuple(f"http://etcd-{each}:2379" for each in order)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_node_is_published_where_it_says(
    compose: dict[str, Any], configs: dict[int, DaemonConfig], number: int
) -> None:
    """To this machine only: its API, its signalling and its media, each under the address that others are told."""
    service = compose["services"][f"node-{number}"]
    published = {inside: outside for outside, _, inside in (port.rpartition(":") for port in service["ports"])}
    assert all(outside.startswith("127.0.0.1:") for outside in published.values())
    cluster = configs[number].cluster
    assert cluster.api_url == f"http://{published['3000/tcp']}/"
    assert cluster.signaling_url == f"ws://{published['5000/tcp']}/signaling"
    assert published["5004/tcp"] == published["5004/udp"]
    host, _, port = published["5004/udp"].partition(":")
    offered = service["environment"]["ROKUGA_MEDIA_ADDRESS"].split(",")
    assert [parse_media_address(text) for text in offered] == [
        MediaAddress(host, int(port)),
        MediaAddress(f"node-{number}"),
    ]


def test_no_two_services_share_a_port_or_a_folder(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    published = [port for service in services for port in service.get("ports", ())]
    ports = [f"{outside}/{inside[-3:]}" for outside, _, inside in (port.rpartition(":") for port in published)]
    volumes = [volume.split(":")[0] for service in services for volume in service.get("volumes", ())]
    assert len(ports) == len(set(ports)) == 12
    assert sorted(volumes) == sorted(compose["volumes"])


def test_only_the_nodes_reach_etcd(compose: dict[str, Any]) -> None:
    """It lets in whoever reaches it."""
    inside = {name for name, service in compose["services"].items() if "etcd" in service.get("networks", ())}
    assert inside == {f"{kind}-{number}" for kind in ("etcd", "node") for number in NUMBERS}
    assert compose["networks"]["etcd"] == {"internal": True}
    assert not any("ports" in compose["services"][f"etcd-{number}"] for number in NUMBERS)


def test_each_image_is_built_once_before_who_needs_it(compose: dict[str, Any]) -> None:
    builders = {service["image"]: name for name, service in compose["services"].items() if "build" in service}
    assert builders == {"rokuga-etcd": "etcd-1", "rokuga": "node-1"}
    for name, service in compose["services"].items():
        builder = builders[service["image"]]
        assert service["depends_on"] == ([] if name == builder else [builder]), name


def test_the_webhooks_go_to_where_the_sink_listens(compose: dict[str, Any], configs: dict[int, DaemonConfig]) -> None:
    command = compose["services"]["sink"]["command"]
    listening = dict(zip(command[1::2], command[2::2], strict=True))
    assert (command[0], listening["--host"]) == ("sink", "0.0.0.0")
    urls = {config.webhooks.url for config in configs.values()}
    assert urls == {f"http://sink:{listening['--port']}/webhook"}


@contextlib.contextmanager
def running_etcds(compose: dict[str, Any], folder: Path) -> Iterator[dict[int, str]]:
    """Run the three with their environments, on this machine's addresses and free ports; give where clients call."""
    ports = free_ports(6)
    places: dict[str, str] = {}
    for number, client, peer in zip(NUMBERS, ports[:3], ports[3:], strict=True):
        places |= {f"etcd-{number}:2379": f"127.0.0.1:{client}", f"etcd-{number}:2380": f"127.0.0.1:{peer}"}
    processes = []
    try:
        for number in NUMBERS:
            environment = {}
            for name, value in compose["services"][f"etcd-{number}"]["environment"].items():
                text = value.replace("/var/lib/etcd", str(folder / f"etcd-{number}"))
                for place, here in places.items():
                    text = text.replace(place, here)
                for port in ("2379", "2380"):
                    text = text.replace(f"0.0.0.0:{port}", places[f"etcd-{number}:{port}"])
                environment[name] = text
            inline = compose["services"]["etcd-1"]["build"]["dockerfile_inline"]
            (entrypoint,) = [each for each in read_dockerfile(inline) if each.name == "ENTRYPOINT"]
            with (folder / f"etcd-{number}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(entrypoint.command, env=os.environ | environment, stdout=log, stderr=log)
                )
        yield {number: places[f"etcd-{number}:2379"] for number in NUMBERS}
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def test_the_three_etcd_are_one_cluster(compose: dict[str, Any], tmp_path: Path) -> None:
    """Its flags are taken as they are, and what is written to one is read from another."""
    with running_etcds(compose, tmp_path) as places:
        endpoints = tuple(f"http://{place}" for place in places.values())
        EtcdServers(endpoints, []).wait_ready()
        async with Etcd(ClusterConfig(endpoints[:1])) as one, Etcd(ClusterConfig(endpoints[2:])) as three:
            await one.transact([], [put("/a", b"b")])
            found = await three.get("/a")
    assert found is not None
    assert found.value == b"b"
    for number in NUMBERS:
        data = Path(compose["services"][f"etcd-{number}"]["environment"]["ETCD_DATA_DIR"])
        (volume,) = compose["services"][f"etcd-{number}"]["volumes"]
        assert str(data.parent) == volume.split(":")[1]
        assert (tmp_path / f"etcd-{number}" / data.name / "member").is_dir()
