"""Every command in the documentation is one that its program understands.

Commands of this project are parsed by their own parsers, and then do not run: other tests run them.
Commands of make, Docker, Helm and kubectl are checked against the files that they use.
"""

import argparse
import ast
import importlib.util
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from backend import jobs
from backend.learning import starts
from benchmarks import container

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    {*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "training").rglob("*.md")}
)
PROGRAMS = ("python", "make", "docker", "helm", "kubectl", "rq")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CHART = ROOT / "deploy" / "helm" / "mobile-sam-backend"


class Parsed(Exception):
    """The parser of a command has taken its arguments."""


def commands_of(text: str) -> Iterator[str]:
    """The lines of shell blocks, the commands of indented blocks and those within sentences.

    A command within a sentence may be a name without what it needs. Then "..." follows.
    """
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        yield from filter(None, map(str.strip, lines))
    sentences = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.sub(r"\\\n\s*", "", sentences)
    yield from re.findall(r"^    (\S*python -m .+)$", indented, re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", sentences):
        words = code.split()
        if len(words) > 1 and Path(words[0]).name in PROGRAMS:
            yield f"{' '.join(words)} ..."


def comments_of(path: Path) -> Iterator[str]:
    """The commands in the comments of a file: those that are indented, or follow a colon."""
    for line in path.read_text().splitlines():
        if found := re.match(r"# .*?((?:docker|make|python -m) .*)$", line):
            yield found[1]


COMMANDS = {command: page.name for page in PAGES for command in commands_of(page.read_text())} | {
    command: name
    for name in ("Dockerfile", "docker-compose.yml")
    for command in comments_of(ROOT / name)
}


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if the program would not take the words."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words[0] == "sudo":
        words = words[1:]
    name = Path(words[0]).name
    known = {
        "python": check_python,
        "make": check_make,
        "docker": check_docker,
        "helm": check_helm,
        "kubectl": check_kubectl,
        "rq": check_rq,
        "git": lambda *_: None,
        "chown": lambda *_: None,
        "tar": lambda *_: None,
    }
    assert name in known, f"no check of {name} here: add it"
    known[name](words[1:], monkeypatch)


def check_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert words[0] == "-m"
    module = words[1]
    if module in ("venv", "pip", "pytest"):
        return
    sources = [ROOT / f"{module.replace('.', '/')}{end}" for end in (".py", "/__main__.py")]
    source = next((path for path in sources if path.exists()), None)
    assert source is not None, f"there is no {module}"
    if "argparse" not in source.read_text() and module not in ("model", "backend"):
        assert words[2:] == []
        return
    original = argparse.ArgumentParser.parse_args

    def parse(parser: argparse.ArgumentParser, *arguments: object, **named: object) -> None:
        original(parser, *arguments, **named)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", [str(source), *words[2:]])
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Parsed:
        return
    except SystemExit as ended:
        if ended.code:
            raise


def check_make(words: list[str], _: pytest.MonkeyPatch) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [word for word in words if "=" not in word and word not in targets] == []


def check_docker(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "compose":
        check_compose(words[1:], monkeypatch)
    elif words[0] == "build":
        stages = container.stages((ROOT / "Dockerfile").read_text())
        options = dict(zip(words, words[1:], strict=False))
        assert options.get("--target", "cpu") in stages
        if "--build-arg" in options:
            assert (
                f"ARG {options['--build-arg'].split('=')[0]}" in (ROOT / "Dockerfile").read_text()
            )
    elif words[0] == "exec":
        check(words[2:], monkeypatch)
    else:
        assert words[0] in ("run", "push")


def check_compose(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    services = COMPOSE["services"]
    profiles = {p for service in services.values() for p in service.get("profiles", [])}
    while words[0] == "--profile":
        assert words[1] in profiles
        words = words[2:]
    verb, *rest = words
    for option, value in zip(rest, rest[1:], strict=False):
        if option == "--scale":
            assert value.split("=")[0] in services
    if verb == "exec":
        rest = [word for word in rest if word != "-T"]
        assert rest[0] in services
        redirection = next((i for i, word in enumerate(rest) if word in "<>"), len(rest))
        check(rest[1:redirection], monkeypatch)
        return
    assert verb in ("up", "logs", "build", "kill")
    if verb in ("logs", "kill"):
        named = [word for word in rest if not word.startswith("-") and word != "HUP"]
        assert set(named) <= set(services)


def check_helm(words: list[str], _: pytest.MonkeyPatch) -> None:
    assert words[0] in ("install", "upgrade")
    assert words[2] == CHART.relative_to(ROOT).as_posix()
    check_set([v for o, v in zip(words, words[1:], strict=False) if o == "--set"])


def check_set(given: list[str]) -> None:
    if importlib.util.find_spec("helm_python") is None:
        pytest.skip("Helm's library has no wheel for this machine")
    question = json.dumps({"action": "render", "set": ",".join(given)})
    program = [sys.executable, ROOT / "tests" / "helm_library.py", CHART]
    rendered = subprocess.run(program, input=question, capture_output=True, text=True, check=True)
    assert "Deployment" in rendered.stdout


def check_kubectl(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "exec":
        check(words[words.index("--") + 1 :], monkeypatch)
    else:
        assert words[:2] == ["create", "secret"]


def check_rq(words: list[str], _: pytest.MonkeyPatch) -> None:
    *others, queue = words
    assert others == ["worker", "--url", "$REDIS_URL"]
    assert queue in (jobs.QUEUE_NAME, starts.QUEUE_NAME)


@pytest.mark.slow  # imports training
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("command", [pytest.param(c, id=f"{p}: {c}") for c, p in COMMANDS.items()])
def test_a_command_is_understood(
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = re.sub(r"<[a-z-]+>", "value", command)
    words = shlex.split(command, comments=True)
    try:
        check([word for word in words if word != "..."], monkeypatch)
    except SystemExit:
        said = capsys.readouterr().err
        assert words[-1] == "...", said
        assert re.search(r"(is|are) required|expected (at least )?one argument", said), said


@pytest.mark.slow  # Helm's library runs in a process of its own
def test_values_of_the_chart_within_sentences() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    found = [code for code in re.findall(r"`(--set [^`]+)`", text.replace("\n  ", " "))]
    assert found
    for code in found:
        check_set(re.sub(r"--set ", "", code).split())


@cache
def sentences_of_the_code() -> str:
    """All texts of the backend's code, joined. Parts of f-strings stand without their values."""
    found = []
    for path in (ROOT / "backend").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value for v in node.values if isinstance(v, ast.Constant)]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_symptoms_are_sentences_of_the_backend() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = text[text.index("| Symptom |") :].splitlines()[2:]
    quoted = [phrase for row in rows for phrase in re.findall(r'"([^"]+)"', row.split("|")[1])]
    assert len(quoted) > 5
    of_label_studio = "URL resolves to a reserved network address"
    missing = [q for q in quoted if q not in sentences_of_the_code() and q != of_label_studio]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#][^)]*)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve()
        assert found.exists(), target
        if anchor:
            check_anchor(found, anchor)
    for anchor in re.findall(r"\]\(#([^)]+)\)", page.read_text()):
        check_anchor(page, anchor)


def check_anchor(page: Path, anchor: str) -> None:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert anchor in slugs
