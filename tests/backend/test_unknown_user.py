"""The backend serves under a user id that the system does not know, as OpenShift chooses them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks import container
from model.weights import BUILTIN_PATH

ROOT = Path(__file__).parents[2]
UNKNOWN = container.as_user(1_234_567, 0)  # the group is root's, as OpenShift has it

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("setpriv") is None, reason="root and setpriv are needed"
    ),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may write to. Those of pytest may be entered by its user alone."""
    path = Path(tempfile.mkdtemp(prefix="unknown-user-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def start(port: int, **settings: str) -> subprocess.Popen[str]:
    """gunicorn under the unknown user, without HOME."""
    known = {name: value for name, value in os.environ.items() if name != "HOME"}  # noqa: TID251
    given = {"MOBILESAM_CHECKPOINT": str(BUILTIN_PATH), "PORT": str(port), **settings}
    return subprocess.Popen(
        [*UNKNOWN, sys.executable, "-m", "gunicorn", "_wsgi:app"],
        cwd=ROOT,
        env={**{n: v for n, v in known.items() if n not in ("MODEL_DIR", "CACHE_DIR")}, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("mode", [0o777, 0o755], ids=["its-folders", "folders-of-root"])
def test_the_backend_serves(folder: Path, mode: int) -> None:
    """Docker makes the folder ./data/server of Label Studio's example for root alone."""
    folder.chmod(mode)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(port, CACHE_DIR=str(folder / "cache"), MODEL_DIR=str(folder / "models"))
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            try:
                health = httpx.get(f"http://127.0.0.1:{port}/health", timeout=60)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert health.json()["model_version"] == "mobile-sam-builtin"
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said


def test_without_them_a_sentence_says_what_to_set() -> None:
    said, _ = start(9).communicate(timeout=60)
    assert "error: MODEL_DIR is not set, and this user has no home folder" in said
    assert "Traceback" not in said
