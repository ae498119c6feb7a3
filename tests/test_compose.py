"""docker-compose.yml against the schema of Compose, the settings and the code."""

import json
import os
import re
import subprocess
from importlib import resources
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from backend.jobs import QUEUE_NAME
from backend.settings import Settings
from benchmarks import compose

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
CONTENT = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = CONTENT["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_the_schema_of_compose() -> None:
    schemas = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor")
    schema = json.loads(schemas.joinpath("compose-spec.json").read_text())
    given = compose.interpolated(CONTENT, {"LABEL_STUDIO_API_KEY": "token"})
    jsonschema.Draft7Validator(schema).validate(given)


@pytest.mark.parametrize("name", OURS)
def test_every_setting_can_be_made_in_the_file_env(name: str) -> None:
    assert SERVICES[name]["env_file"] == [{"path": ".env", "required": False}]
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    known = {name for row in rows for name in re.findall(r"[A-Z_]+", row)}
    assert set(SERVICES[name]["environment"]) <= known


def test_the_setting_that_cannot_be_made_there_is_named(tmp_path: Path) -> None:
    teams = tmp_path / "teams.toml"
    teams.write_text('[a]\nurl = "http://label-studio:8080"\napi_key = "token"\n')
    environment = SERVICES["backend"]["environment"]
    given = {"LABEL_STUDIO_URL": environment["LABEL_STUDIO_URL"], "LABEL_STUDIOS": str(teams)}
    with pytest.raises(ValueError, match="LABEL_STUDIO_URL and LABEL_STUDIOS are both set"):
        Settings.from_env(given)
    assert "All but LABEL_STUDIOS:" in TEXT


def test_only_connect_knows_the_password() -> None:
    for name in OURS:
        has_password = bool(SERVICES[name]["environment"]["LABEL_STUDIO_PASSWORD"])
        assert has_password is (name == "connect")


@pytest.mark.parametrize("name", OURS)
def test_our_services_need_no_rights_and_write_to_the_volume_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["volumes"] == ["backend:/data"]
    assert service["cap_drop"] == ["ALL"]


def test_workers_listen_to_the_queue_of_jobs() -> None:
    assert SERVICES["worker"]["command"].split()[-1] == QUEUE_NAME
    assert SERVICES["worker"]["environment"]["REDIS_URL"] in SERVICES["worker"]["command"]


def test_without_a_word_only_this_machine_can_connect() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("${LISTEN:-127.0.0.1}:") for port in ports)


def test_label_studio_may_call_the_backend_and_no_other_private_host() -> None:
    environment = SERVICES["label-studio"]["environment"]
    banned = environment["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")
    (network,) = CONTENT["networks"]["default"]["ipam"]["config"]

    def is_banned(address: str) -> bool:
        return any(ip_address(address) in ip_network(subnet) for subnet in banned)

    assert not any(is_banned(str(host)) for host in ip_network(network["subnet"]))
    for address in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "172.17.0.1", "172.29.255.1"):
        assert is_banned(address)
    for address in ("172.31.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "fe80::1"):
        assert is_banned(address)
    assert not is_banned("8.8.8.8")


def test_the_services_of_profiles() -> None:
    usual = {"label-studio", "connect", "backend", "redis"}
    assert {service.name for service in compose.services({}, set())} == usual
    assert {s.name for s in compose.services({}, {"workers"})} == {*usual, "worker"}
    assert {s.name for s in compose.services({}, {"gpu"})} == {*usual, "backend-gpu"}


def test_a_gpu_takes_the_place_of_the_backend() -> None:
    names = [SERVICES[n]["networks"]["default"]["aliases"] for n in ("backend", "backend-gpu")]
    assert names[0] == names[1]
    assert f"--backend-url=http://{names[0][0]}:9090" in SERVICES["connect"]["command"]
    assert SERVICES["backend-gpu"]["build"]["target"] == "gpu"


def key_at_a_start(volume: Path) -> str:
    """The key that the command of the service label-studio gives to Label Studio."""
    folder = volume.parent / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "label-studio").write_text('#!/bin/sh\nprintf %s "$SECRET_KEY"\n')
    (folder / "label-studio").chmod(0o755)
    service = next(s for s in compose.services({}, set()) if s.name == "label-studio")
    path = f"{folder}{os.pathsep}{os.defpath}"
    environment = {"PATH": path, "LABEL_STUDIO_BASE_DATA_DIR": str(volume)}
    return subprocess.check_output(service.command, env=environment, text=True)


def test_each_start_of_label_studio_signs_tokens_with_the_same_key(tmp_path: Path) -> None:
    volume = tmp_path / "data"
    volume.mkdir()
    key = key_at_a_start(volume)
    assert re.fullmatch(r"[0-9a-f]{64}", key)
    assert (volume / "secret-key").stat().st_mode & 0o077 == 0
    assert key_at_a_start(volume) == key


def test_a_volume_with_a_key_of_label_studio_keeps_that_key(tmp_path: Path) -> None:
    volume = tmp_path / "data"
    volume.mkdir()
    (volume / ".env").write_text("SECRET_KEY=known\n")
    assert key_at_a_start(volume) == ""
    assert not (volume / "secret-key").exists()
