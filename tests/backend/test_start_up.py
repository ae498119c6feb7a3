"""Every command finds the weights by itself. No other command has to run first."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from model.network.checkpoint import add_metadata
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/>'
    "</KeyPointLabels></View>"
)
# Runs a program as `python -m` does. Another file stands for the published checkpoint.
LAUNCHER = """
import runpy, sys
from model import weights
weights.PUBLISHED_URL, weights.PUBLISHED_SHA256 = sys.argv[1:3]
sys.argv = sys.argv[3:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class Machine:
    """A machine with an empty model folder, and a download server."""

    def __init__(self, folder: Path, url: str, sha256: str) -> None:
        self.folder = folder
        self.sha256 = sha256
        self._published = url, sha256

    def environment(self, **settings: str) -> dict[str, str]:
        home = {
            "MODEL_DIR": str(self.folder / "models"),
            "CACHE_DIR": str(self.folder / "cache"),
            "ALLOWED_HOSTS": "127.0.0.1",
        }
        return {**os.environ, **home, **settings}  # noqa: TID251

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", LAUNCHER, *self._published, *command],
            cwd=ROOT,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=120,
        )

    @property
    def has_weights(self) -> bool:
        return (self.folder / "models" / "mobile_sam.pt").exists()

    def fingerprints(self) -> set[str]:
        """The fingerprints of the weights behind the kept embeddings."""
        return {path.name[:16] for path in self.folder.glob("cache/??/*.safetensors")}


@pytest.fixture
def machine(tmp_path: Path, serve: Callable[[Path], str]) -> Machine:
    served = tmp_path / "served"
    served.mkdir()
    published = served / "mobile_sam.pt"
    shutil.copy(BUILTIN_PATH, published)
    add_metadata(published, {"note": "stands for the published checkpoint"})
    sha256 = hashlib.sha256(published.read_bytes()).hexdigest()
    return Machine(tmp_path, f"{serve(served)}/mobile_sam.pt", sha256)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (320, 240), (90, 120, 60)).save(folder / "photo.png")
    return folder


def test_precompute_downloads_the_weights(machine: Machine, photos: Path) -> None:
    done = machine.run(
        "backend", "precompute", "--folder", str(photos), "--url-prefix", "http://127.0.0.1/"
    )
    assert done.returncode == 0, done.stderr
    assert machine.has_weights
    assert machine.fingerprints() == {machine.sha256[:16]}


def test_doctor_downloads_the_weights(machine: Machine) -> None:
    done = machine.run("backend", "doctor")
    assert "ok\tweights\tmobile-sam" in done.stdout.splitlines()
    assert machine.has_weights


def test_an_rq_worker_downloads_the_weights(
    machine: Machine, photos: Path, serve: Callable[[Path], str], redis_server: tuple
) -> None:
    _, redis_url = redis_server
    task = {"id": 1, "data": {"image": f"{serve(photos)}/photo.png"}}
    (machine.folder / "tasks.json").write_text(json.dumps([task]))
    (machine.folder / "config.xml").write_text(CONFIG)
    asking = subprocess.Popen(
        [
            *(sys.executable, "-m", "backend", "precompute", "--queue"),
            *("--tasks", str(machine.folder / "tasks.json")),
            *("--config", str(machine.folder / "config.xml")),
        ],
        cwd=ROOT,
        env=machine.environment(REDIS_URL=redis_url),
        stderr=subprocess.DEVNULL,
    )
    settings = {"REDIS_URL": redis_url}
    arguments = ("worker", "--url", redis_url, "--max-jobs", "1", "mobile-sam")
    worker = machine.run("rq.cli", *arguments, **settings)
    assert worker.returncode == 0, worker.stderr
    assert asking.wait(30) == 0
    assert machine.has_weights
    assert machine.fingerprints() == {machine.sha256[:16]}


def test_without_the_download_the_log_says_which_weights_serve(
    machine: Machine, photos: Path
) -> None:
    (machine.folder / "served" / "mobile_sam.pt").unlink()
    done = machine.run(
        "backend", "precompute", "--folder", str(photos), "--url-prefix", "http://127.0.0.1/"
    )
    assert done.returncode == 0, done.stderr
    assert "the published MobileSAM weights are not available" in done.stderr
    assert "the small built-in checkpoint serves instead" in done.stderr
    builtin = hashlib.sha256(BUILTIN_PATH.read_bytes()).hexdigest()
    assert machine.fingerprints() == {builtin[:16]}


def test_without_space_for_the_weights_the_log_says_how_much_they_need(
    machine: Machine, photos: Path
) -> None:
    models = machine.folder / "models"
    models.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(models)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        done = machine.run(
            "backend", "precompute", "--folder", str(photos), "--url-prefix", "http://127.0.0.1/"
        )
        assert done.returncode == 0, done.stderr
        needed = f"{(machine.folder / 'served' / 'mobile_sam.pt').stat().st_size / 1e6:.1f} MB"
        sentence = f"{models} has 1.0 MB of free space, and mobile_sam.pt needs {needed}"
        assert sentence in done.stderr
        assert "the small built-in checkpoint serves instead" in done.stderr
        assert not list(models.glob("mobile_sam*"))
    finally:
        subprocess.run(["umount", "--lazy", str(models)], check=True)


@pytest.mark.parametrize("module", ["backend.precompute", "backend.cli"])
def test_the_commands_do_not_import_label_studio_ml(module: str) -> None:
    script = f"import sys, {module}; sys.exit('label_studio_ml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_port_that_is_in_use_is_named_with_the_remedy(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "WARNING"}
        done = machine.run("gunicorn", "_wsgi:app", **settings)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "[INFO]" not in line]
    sentence = f"port {port} of 127.0.0.1 is in use: end the other program, or set PORT"
    assert said == [f"error: {sentence}"]
    assert not machine.has_weights
