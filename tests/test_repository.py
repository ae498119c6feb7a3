"""The files that no other test runs agree with those that are run."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import container
from model.weights import PUBLISHED_SHA256, PUBLISHED_URL

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def pip_installs(commands: list[str]) -> list[str]:
    pattern = re.compile(r"python -m pip (?:--python /venv )?install (.+)$")
    return [match[1] for command in commands if (match := pattern.search(command))]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_image_installs_what_make_run_installs(target: str) -> None:
    rules = dict(
        re.findall(r"^\$\(BIN\)/\.(\w+)-installed:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    )
    expected = pip_installs(rules["cpu"].splitlines())
    if target == "gpu":
        expected += pip_installs(rules["gpu"].splitlines())
    assert expected
    assert pip_installs(container.instructions(f"{target}-packages")) == expected


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_image_runs_what_make_run_runs(target: str) -> None:
    (words,) = [
        json.loads(line.removeprefix("CMD "))
        for line in container.instructions(target)
        if line.startswith("CMD ")
    ]
    assert f"\t$(BIN)/{' '.join(words)}\n" in MAKEFILE


def test_without_a_target_the_image_is_that_of_cpus() -> None:
    assert list(container.stages(DOCKERFILE))[-1] == "cpu"


def test_the_image_holds_everything_that_serves() -> None:
    copied = {
        name
        for stage in ("cpu", "gpu", "cpu-packages", "gpu-packages")
        for line in container.instructions(stage)
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}
    assert copied >= {"model", "backend", "_wsgi.py", "gunicorn.conf.py"}


def test_the_image_holds_the_published_weights() -> None:
    (line,) = container.instructions("fetched-weights")[-1:]
    checksum, url, path = line.split()[-3:]
    assert checksum == f"--checksum=sha256:{PUBLISHED_SHA256}"
    assert url == PUBLISHED_URL
    assert f"ENV MOBILESAM_CHECKPOINT={path} " in DOCKERFILE


def test_the_image_needs_no_rights_and_writes_to_its_volume_alone() -> None:
    assert "USER 1000" in container.instructions("cpu")
    folders = re.findall(r" (?:MODEL_DIR|CACHE_DIR)=(\S+)", DOCKERFILE)
    assert len(folders) == 2
    assert all(folder.startswith("/data/") for folder in folders)


def test_torch_is_asked_for_in_one_place() -> None:
    requirements = {path.name: path.read_text() for path in ROOT.glob("requirements*.txt")}
    names = {name for name, text in requirements.items() if re.search(r"^(torch|timm)", text, re.M)}
    assert names == {"requirements.txt"}
    assert requirements["requirements.txt"].count("-r requirements-cpu.txt") == 1
