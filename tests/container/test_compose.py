"""What compose.yaml promises, against the image that it starts."""

from typing import Any

import pytest
import yaml

from rokuga.api.config.loader import load_config
from rokuga.recorder.webrtc.transport.addresses import MediaAddress, parse_media_address
from tests.container.engine import ROOT, Image

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def test_the_environment_is_a_configuration_without_warnings(compose: dict[str, Any], image: Image) -> None:
    """Both servers listen on all addresses, and `http://rokuga:3000` is answered."""
    config, warnings = load_config(None, image.environment | compose["services"]["rokuga"]["environment"])
    assert warnings == []
    assert (config.api_host, config.signaling_host) == ("0.0.0.0", "0.0.0.0")
    assert config.allowed_hosts == ("rokuga",)
    assert not config.admin_loopback_address_only  # the host's browser comes from the network's gateway
    volumes = [volume.split(":")[1] for volume in compose["services"]["rokuga"]["volumes"]]
    assert [str(config.recorder.archive_dir), str(config.data_dir)] == volumes
    assert image.config["Volumes"].keys() == set(volumes)
    assert {volume.split(":")[0] for volume in compose["services"]["rokuga"]["volumes"]} == compose["volumes"].keys()


def test_every_exposed_port_is_published_to_this_machine_only(compose: dict[str, Any], image: Image) -> None:
    """Media too, under the address and port that browsers are offered."""
    exposed = image.config["ExposedPorts"]
    assert sorted(exposed) == ["3000/tcp", "5000/tcp", "5004/tcp", "5004/udp"]
    published = compose["services"]["rokuga"]["ports"]
    assert sorted(published) == sorted(f"127.0.0.1:{port.split('/')[0]}:{port}" for port in exposed)
    offered = compose["services"]["rokuga"]["environment"]["ROKUGA_MEDIA_ADDRESS"].split(",")
    assert [parse_media_address(text) for text in offered] == [
        MediaAddress("127.0.0.1", 5004),
        MediaAddress("rokuga"),
    ]


def test_the_event_webhook_goes_to_where_the_sink_listens(compose: dict[str, Any]) -> None:
    command = compose["services"]["sink"]["command"]
    assert command[0] == "sink"
    listening = dict(zip(command[1::2], command[2::2], strict=True))
    assert listening["--host"] == "0.0.0.0"
    url = f"http://sink:{listening['--port']}/webhook"
    assert compose["services"]["rokuga"]["environment"]["ROKUGA_EVENT_WEBHOOK_URL"] == url
