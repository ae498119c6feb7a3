"""The workflows of GitHub: valid, pinned, and with the commands that run here."""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from benchmarks import container

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def load(path: Path) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(path)  # YAML 1.2, in which "on" is a word


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def make_targets(text: str) -> set[str]:
    return set(re.findall(r"^\s*(?:- run: |run: )?make ([a-z-]+)$", text, re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_schema_of_github(path: Path) -> None:
    schemas = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor")
    schema = json.loads(schemas.joinpath("github-workflows.json").read_text())
    jsonschema.Draft7Validator(schema).validate(load(path))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_have_a_version_and_jobs_an_end(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name) for name in used)
    assert all("timeout-minutes" in job for job in load(path)["jobs"].values())
    assert load(path)["permissions"]["contents"] == "read"


def test_the_same_commands_as_here() -> None:
    ci = make_targets(WORKFLOWS[0].read_text())
    assert ci >= make_targets((ROOT / ".ci" / "run").read_text()) >= {"lint", "test", "soak"}
    assert ci <= TARGETS


def test_every_machine_and_every_python() -> None:
    matrix = load(WORKFLOWS[0])["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "ubuntu", "macos"]
    assert any(name.endswith("-arm") for name in matrix["os"])


def test_a_release_is_that_of_the_code() -> None:
    from backend import __version__

    (check,) = (step["run"] for step in steps(WORKFLOWS[1]) if "__version__" in step.get("run", ""))
    pattern = re.findall(r'"(__version__.*)" backend/', check)[0].replace("\\", "")
    line = pattern.replace("${GITHUB_REF_NAME#v}", __version__)
    assert line in (ROOT / "backend" / "__init__.py").read_text().splitlines()
    matrix = load(WORKFLOWS[1])["jobs"]["images"]["strategy"]["matrix"]["include"]
    stages = container.stages((ROOT / "Dockerfile").read_text())
    assert {entry["target"] for entry in matrix} == {"cpu", "gpu"} <= set(stages)
