"""Runs the services of docker-compose.yml without Docker, and clicks once.

python -m benchmarks.compose FOLDER    (as root, on Linux)

Each service is a process with the environment and the command of docker-compose.yml and the
Dockerfile. The processes have a network of their own, in which each service has its name, its
address in the network of the file, and its port. The images themselves are not there: Label Studio,
Redis and the packages are those of this machine, and the built-in weights stand for the published.
A file .env is not read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from backend.label_studio.session import Session
from benchmarks import container
from demo.smart_regions import keypoint
from model.weights import BUILTIN_PATH

ROOT = container.ROOT
_COMPOSE = ROOT / "docker-compose.yml"
_BINARIES = os.pathsep.join(
    [str(Path(sys.executable).parent), str(ROOT / ".venv-label-studio" / "bin"), os.defpath]
)
_TIMEOUT_S = 900.0
_POLL_S = 1.0
_USER = 1000  # of the image


@dataclass(frozen=True)
class Service:
    """A service of docker-compose.yml.

    Attributes:
        name: its name, which is also its host name.
        command: what runs.
        environment: all variables, with those of the Dockerfile.
        volumes: by the path in the container, the name of the volume.
        aliases: further host names.
        restarts: whether it is started again when it ends.
        is_ours: whether its image comes from the Dockerfile.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    volumes: dict[str, str]
    aliases: list[str]
    restarts: bool
    is_ours: bool


def interpolated(value: Any, environ: dict[str, str]) -> Any:
    """Texts as Compose reads them: ``${NAME:-default}`` is a value or the default, ``$$`` is $."""
    if isinstance(value, dict):
        return {key: interpolated(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, environ) for item in value]
    if isinstance(value, str):
        text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: environ.get(m[1]) or m[2], value)
        return text.replace("$$", "$")
    return value


def services(environ: dict[str, str], profiles: set[str]) -> list[Service]:
    """The services that ``docker compose --profile ... up`` starts, in the order of the file."""
    content = interpolated(yaml.safe_load(_COMPOSE.read_text()), environ)
    return [
        _service(name, fields)
        for name, fields in content["services"].items()
        if not fields.get("profiles") or profiles & set(fields["profiles"])
    ]


def _service(name: str, fields: dict[str, Any]) -> Service:
    is_ours = "build" in fields
    environment, command = _image() if is_ours else ({}, [])
    command = fields.get("command", command)
    return Service(
        name,
        shlex.split(command) if isinstance(command, str) else command,
        {**environment, **fields.get("environment", {})},
        {v.split(":")[1]: v.split(":")[0] for v in fields.get("volumes", [])},
        fields.get("networks", {}).get("default", {}).get("aliases", []),
        fields.get("restart") == "unless-stopped",
        is_ours,
    )


def _image() -> tuple[dict[str, str], list[str]]:
    """The variables and the command of the image for CPUs."""
    environment: dict[str, str] = {}
    command: list[str] = []
    for line in container.instructions("cpu"):
        if line.startswith("ENV "):
            environment |= dict(pair.split("=", 1) for pair in shlex.split(line)[1:])
        elif line.startswith("CMD "):
            command = json.loads(line.removeprefix("CMD "))
    del environment["PATH"]
    return environment, command


class Project:
    """The running services. Made inside the network of their own.

    Args:
        folder: for logs and volumes.
        environ: the values for ``${...}``, as a file .env has them.
        profiles: the profiles of the command line.
    """

    def __init__(self, folder: Path, environ: dict[str, str], profiles: set[str]) -> None:
        self.folder = folder
        self.services = {service.name: service for service in services(environ, profiles)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        _name_hosts(folder, list(self.services.values()))

    def up(self) -> None:
        """Start all services at once, as Compose does, and wait for the end of ``connect``."""
        for name in self.services:
            self._processes[name] = self.start(name)
        deadline = time.monotonic() + _TIMEOUT_S
        while self._processes["connect"].poll() is None:
            self._restart()
            if time.monotonic() > deadline:
                raise RuntimeError(f"connect has not ended:\n{self.log('connect')}")
            time.sleep(_POLL_S)
        if self._processes["connect"].returncode:
            raise RuntimeError(self.log("connect"))

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a service, or another command in its environment."""
        service = self.services[name]
        words = [self._on_this_machine(service, word) for word in command or service.command]
        executable = shutil.which(words[0], path=_BINARIES)
        if executable is None:
            raise FileNotFoundError(f"{words[0]} is not installed")
        prefix = container.as_user(_USER, _USER) if service.is_ours else []
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                [*prefix, executable, *words[1:]],
                cwd=ROOT if service.is_ours else self.folder,
                env=self._environment(service),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, name: str, *command: str) -> str:
        """Run a command in the environment of a service, as ``docker compose exec`` does."""
        before = len(self.log(name))
        self.start(name, *command).wait(_TIMEOUT_S)
        return self.log(name)[before:]

    def log(self, name: str) -> str:
        """All that a service has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _restart(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None and self.services[name].restarts:
                self._processes[name] = self.start(name)

    def _environment(self, service: Service) -> dict[str, str]:
        given = {k: self._on_this_machine(service, v) for k, v in service.environment.items()}
        if service.is_ours:
            given["MOBILESAM_CHECKPOINT"] = str(BUILTIN_PATH)
        path = os.pathsep.join([_BINARIES, os.environ["PATH"]])  # noqa: TID251
        return {"PATH": path, "OMP_NUM_THREADS": "1", **given}

    def _on_this_machine(self, service: Service, text: str) -> str:
        """A text with the folder of a volume in the place of its path in the container."""
        for path, volume in service.volumes.items():
            if text == path or text.startswith(f"{path}/"):
                folder = self.folder / volume
                folder.mkdir(exist_ok=True)
                if service.is_ours:
                    os.chown(folder, _USER, _USER)
                return str(folder) + text.removeprefix(path)
        return text


def _name_hosts(folder: Path, named: list[Service]) -> None:
    """Give each service an address in the network of the file. Nothing outside can be reached."""
    content = yaml.safe_load(_COMPOSE.read_text())
    (config,) = content["networks"]["default"]["ipam"]["config"]
    addresses = list(ip_network(config["subnet"]).hosts())[1:]
    lines = ["127.0.0.1 localhost"]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for service, address in zip(named, addresses, strict=False):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
        lines.append(f"{address} {' '.join([service.name, *service.aliases])}")
    hosts = folder / "hosts"
    hosts.write_text("\n".join(lines) + "\n")
    hosts.chmod(0o644)
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


def click(project: Project, picture: Path) -> dict[str, Any]:
    """As the user of the file: upload a picture to the project and click in its middle.

    Returns:
        What Label Studio answers to the editor.
    """
    user = project.services["label-studio"].environment
    session = Session("http://label-studio:8080")
    session.sign_in(user["LABEL_STUDIO_USERNAME"], user["LABEL_STUDIO_PASSWORD"])
    project_id = session.find_project("Objects")
    files = {picture.name: (picture.name, picture.read_bytes())}
    session.call("POST", f"/api/projects/{project_id}/import", files=files)
    (task,) = session.call("GET", "/api/tasks/", params={"project": project_id})["tasks"]
    (backend,) = session.call("GET", "/api/ml", params={"project": project_id})
    body = {"task": task["id"], "context": {"result": [keypoint(50, 50, width=320, height=200)]}}
    path = f"/api/ml/{backend['id']}/interactive-annotating"
    answer: dict[str, Any] = session.call("POST", path, json=body)
    session.close()
    return answer


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compose")
    parser.add_argument("folder", type=Path, help="for logs and volumes")
    parser.add_argument("--picture", type=Path, required=True, help="320 x 200 pixels")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [sys.executable, "-m", "benchmarks.compose", "--inside", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", *namespaces, *command])
    options.folder.chmod(0o755)
    project = Project(options.folder.resolve(), {}, {"workers"})
    begun = time.monotonic()
    project.up()
    up_s = time.monotonic() - begun
    answer = click(project, options.picture)
    doctor = project.run("backend", "python", "-m", "backend", "doctor", "--project", "1")
    queued = project.run(
        "backend", "python", "-m", "backend", "precompute", "--project", "1", "--queue"
    )
    print(json.dumps({"up_s": up_s, "click": answer, "doctor": doctor, "precompute": queued}))


if __name__ == "__main__":
    main()
