"""What compose.yaml promises, read as an engine would read it."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from rokuga.api.config.loader import load_config
from rokuga.recorder.webrtc.transport.addresses import MediaAddress, parse_media_address
from tests.container.dockerfile import DockerfileError, Ignored, Instruction, read_dockerfile
from tests.container.rehearsal import ROOT


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    return read_dockerfile((ROOT / "Dockerfile").read_text())


def test_the_environment_is_a_configuration_without_warnings(
    compose: dict[str, Any], instructions: list[Instruction]
) -> None:
    """Both fronts listen on all addresses, and `http://rokuga:3000` is welcome."""
    lines = [instruction.words for instruction in instructions if instruction.name == "ENV"]
    image = dict(word.split("=", 1) for words in lines for word in words)
    config, warnings = load_config(None, image | compose["services"]["rokuga"]["environment"])
    assert warnings == []
    assert (config.api_host, config.signaling_host) == ("0.0.0.0", "0.0.0.0")
    assert config.allowed_hosts == ("rokuga",)
    assert not config.admin_loopback_address_only  # the host's browser comes from the network's gateway
    volumes = [volume.split(":")[1] for volume in compose["services"]["rokuga"]["volumes"]]
    assert [str(config.recorder.archive_dir), str(config.data_dir)] == volumes
    assert {volume.split(":")[0] for volume in compose["services"]["rokuga"]["volumes"]} == compose["volumes"].keys()


def test_every_exposed_port_is_published_to_this_machine_only(
    compose: dict[str, Any], instructions: list[Instruction]
) -> None:
    """Media too, under the address and port that browsers are offered."""
    exposed = [word for each in instructions if each.name == "EXPOSE" for word in each.words]
    published = compose["services"]["rokuga"]["ports"]
    assert published == [f"127.0.0.1:{port.split('/')[0]}:{port}" for port in exposed]
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


def test_nothing_goes_into_the_build_but_what_the_wheel_is_made_of() -> None:
    ignored = Ignored.read((ROOT / ".dockerignore").read_text())
    for path in (".git", ".venv/bin/python", "tests/conftest.py", "archive/x.webm", "api/__pycache__", "__pycache__"):
        assert PurePosixPath(path) in ignored, path
    for path in ("api/daemon.py", "pyproject.toml", "rokuga/api", "webhooks/json_schemas/file-archive.json"):
        assert (ROOT / path).exists()
        assert PurePosixPath(path) not in ignored, path


def test_what_cannot_be_carried_out_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(DockerfileError, match="ADD"):
        read_dockerfile("FROM a\n# a comment\nADD b c\n")
    assert read_dockerfile("RUN a \\\n # why\n && b\n") == [Instruction("RUN", {}, "a   && b")]
    assert read_dockerfile("HEALTHCHECK --interval=1s CMD x") == [
        Instruction("HEALTHCHECK", {"interval": "1s"}, "CMD x")
    ]
