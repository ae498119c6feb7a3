"""The files that no other test runs agree with those that are run."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def pip_installs(text: str) -> list[str]:
    return re.findall(r"python -m pip install (.+?)(?: \\)?$", text, re.MULTILINE)


def test_the_image_installs_what_make_run_installs() -> None:
    assert pip_installs(DOCKERFILE) == pip_installs(MAKEFILE)[:2]


def test_the_image_runs_what_make_run_runs() -> None:
    (words,) = re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    command = " ".join(json.loads(words))
    assert f"\t$(BIN)/{command}\n" in MAKEFILE


def test_the_image_holds_everything_that_serves() -> None:
    copied = {
        name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M) for name in line.split()
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert copied >= {"model", "backend", "_wsgi.py", "gunicorn.conf.py", "requirements.txt"}


@pytest.mark.parametrize(
    "name",
    [
        "LABEL_STUDIO_URL",
        "LABEL_STUDIO_API_KEY",
        "LOCAL_FILES_DOCUMENT_ROOT",
        "ALLOWED_HOSTS",
        "BASIC_AUTH_USER",
    ],
)
def test_compose_passes_settings_on(name: str) -> None:
    assert f"{name}:" in (ROOT / "docker-compose.yml").read_text()
