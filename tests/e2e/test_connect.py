"""The command connect on a real Label Studio whose user has a token already.

tests/e2e/test_compose.py has the first start, where there is none.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.label_studio.session import Session
from demo.backend import ROOT, Backend
from demo.label_studio import EMAIL, PASSWORD, LabelStudio


@pytest.fixture
def session(label_studio: LabelStudio) -> Iterator[Session]:
    signed_in = Session(label_studio.url)
    signed_in.sign_in(EMAIL, PASSWORD)
    yield signed_in
    signed_in.close()


def connect(
    label_studio: LabelStudio, *options: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with the token of the user."""
    environment = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": label_studio.token}
    return subprocess.run(
        [sys.executable, "-m", "backend", "connect", *options],
        cwd=ROOT,
        env={**os.environ, **environment, **settings},  # noqa: TID251
        capture_output=True,
        text=True,
    )


def test_the_second_run_changes_nothing(
    label_studio: LabelStudio, backend: Backend, session: Session
) -> None:
    options = ("--new-project", "connected twice", "--backend-url", backend.url)
    for _ in range(2):
        done = connect(label_studio, *options)
        assert done.returncode == 0, done.stderr
        assert "no webhooks" not in done.stdout
    assert "the personal access token in LABEL_STUDIO_API_KEY is accepted" in done.stdout
    project_id = session.find_project("connected twice")
    project = session.call("GET", f"/api/projects/{project_id}/")
    config = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
    assert project["label_config"] == config.strip()
    (registered,) = session.call("GET", "/api/ml", params={"project": project_id})
    assert registered["url"] == backend.url
    assert registered["is_interactive"]


def test_a_project_that_is_there(
    label_studio: LabelStudio, backend: Backend, session: Session
) -> None:
    project_id = label_studio.create_project("there already", "<View></View>")
    done = connect(label_studio, "--project", str(project_id), "--backend-url", backend.url)
    assert done.returncode == 0, done.stderr
    assert f"the clicks of project {project_id} to {backend.url}" in done.stdout
    assert session.call("GET", "/api/ml", params={"project": project_id})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"LABEL_STUDIO_API_KEY": "0" * 40}, "(the legacy token in LABEL_STUDIO_API_KEY)"),
        ({"LABEL_STUDIO_API_KEY": "", "LABEL_STUDIO_PASSWORD": "wrong"}, "with this password"),
        ({"LABEL_STUDIO_API_KEY": ""}, "delete the token in Label Studio (Account & Settings)"),
    ],
    ids=["token", "password", "a-second-token"],
)
def test_a_refusal_names_the_remedy(
    label_studio: LabelStudio,
    backend: Backend,
    tmp_path: Path,
    settings: dict[str, str],
    sentence: str,
) -> None:
    file = tmp_path / "token"
    user = {"LABEL_STUDIO_USERNAME": EMAIL, "LABEL_STUDIO_PASSWORD": PASSWORD}
    given = {"LABEL_STUDIO_API_KEY_FILE": str(file), **user, **settings}
    done = connect(label_studio, "--project", "1", "--backend-url", backend.url, **given)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not file.exists()


def test_a_backend_that_is_down(label_studio: LabelStudio) -> None:
    options = ("--new-project", "nobody there", "--backend-url", "http://127.0.0.1:9")
    done = connect(label_studio, *options)
    assert done.returncode == 1
    assert "Label Studio does not reach http://127.0.0.1:9: start the backend there" in done.stderr
