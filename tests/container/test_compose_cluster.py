"""What compose.cluster.yaml promises, against the images that it starts; its three etcd are run."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
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
from tests.container.engine import ENVIRONMENT, ROOT, Container, Image, build, locked

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

NUMBERS = (1, 2, 3)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.cluster.yaml").read_text()))


@pytest.fixture(scope="module")
def configs(compose: dict[str, Any], image: Image) -> dict[int, DaemonConfig]:
    """What each node's environment configures, over that of the image."""
    loaded = {
        n: load_config(None, image.environment | compose["services"][f"node-{n}"]["environment"]) for n in NUMBERS
    }
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


@pytest.fixture
def etcd_image(compose: dict[str, Any], tmp_path: Path) -> Image:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(compose["services"]["etcd-1"]["build"]["dockerfile_inline"])
    with locked():
        return build("localhost/rokuga-etcd", dockerfile)


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


@contextlib.contextmanager
def running_etcds(compose: dict[str, Any], image: Image, folder: Path) -> Iterator[dict[str, Container]]:
    """Run the three, each in a container, on free ports of this machine; yield them by where clients connect."""
    ports = free_ports(6)
    places: dict[str, str] = {}
    for number, client, peer in zip(NUMBERS, ports[:3], ports[3:], strict=True):
        places |= {f"etcd-{number}:2379": f"127.0.0.1:{client}", f"etcd-{number}:2380": f"127.0.0.1:{peer}"}
    running = {}
    with contextlib.ExitStack() as stack:
        for number in NUMBERS:
            container = stack.enter_context(image.container())
            here = places | {f"0.0.0.0:{port}": places[f"etcd-{number}:{port}"] for port in (2379, 2380)}
            given = compose["services"][f"etcd-{number}"]["environment"]
            environment = {name: _replaced(text, here) for name, text in given.items()}
            log = stack.enter_context((folder / f"etcd-{number}.log").open("wb"))
            process = subprocess.Popen(
                container.process(image.config["Entrypoint"], environment), env=ENVIRONMENT, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            running[places[f"etcd-{number}:2379"]] = container
        yield running


async def test_the_three_etcd_are_one_cluster(compose: dict[str, Any], etcd_image: Image, tmp_path: Path) -> None:
    """Their settings are accepted, and what is written to one is read from another."""
    with running_etcds(compose, etcd_image, tmp_path) as running:
        endpoints = tuple(f"http://{place}" for place in running)
        EtcdServers(endpoints, []).wait_ready()
        async with Etcd(ClusterConfig(endpoints[:1])) as one, Etcd(ClusterConfig(endpoints[2:])) as three:
            await one.transact([], [put("/a", b"b")])
            found = await three.get("/a")
        assert found is not None
        assert found.value == b"b"
        for number, container in zip(NUMBERS, running.values(), strict=True):
            data = Path(compose["services"][f"etcd-{number}"]["environment"]["ETCD_DATA_DIR"])
            (volume,) = compose["services"][f"etcd-{number}"]["volumes"]
            assert volume.split(":")[1] == str(data.parent)
            assert container.run("test", "-d", str(data / "member")).returncode == 0
