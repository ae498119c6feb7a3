"""A real Label Studio, a real backend connected to it, and a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from demo.backend import ROOT, Backend
from demo.editor import Editor
from demo.label_studio import LabelStudio
from model.weights import BUILTIN_PATH

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    executable = Path(
        os.environ.get(  # noqa: TID251
            "LABEL_STUDIO_EXECUTABLE", ROOT / ".venv-label-studio" / "bin" / "label-studio"
        )
    )
    if not executable.exists():
        pytest.skip(f"Label Studio is not installed ({executable}): make test installs it")
    server = LabelStudio(executable, tmp_path_factory.mktemp("label-studio"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def backend(
    label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    server = Backend(
        folder / "log",
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.token,
        MOBILESAM_CHECKPOINT=str(BUILTIN_PATH),
        CACHE_DIR=str(folder / "cache"),
        WORKERS="2",
    )
    yield server
    server.stop()


@pytest.fixture(scope="session")
def editor(label_studio: LabelStudio, browser: Browser) -> Editor:
    window = Editor(label_studio.url, browser)
    window.log_in()
    return window
