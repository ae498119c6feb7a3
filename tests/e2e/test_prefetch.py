"""What a real Label Studio tells of an annotator's way brings images in ahead of the clicks."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from demo.backend import ROOT, Backend
from demo.label_studio import LabelStudio
from model.weights import BUILTIN_PATH

CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
LOOK_AHEAD = 5


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def settings(label_studio: LabelStudio, cache_dir: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
        "CACHE_DIR": str(cache_dir),
    }


@pytest.fixture
def backend(settings: dict[str, str], tmp_path: Path) -> Iterator[Backend]:
    """A backend that has embedded nothing yet."""
    server = Backend(tmp_path / "log", **settings)
    yield server
    server.stop()


def images(count: int) -> dict[str, bytes]:
    files = {}
    for index in range(count):
        content = BytesIO()
        Image.new("RGB", (320, 240), (index * 20, 100, 200)).save(content, "PNG")
        files[f"image-{index}.png"] = content.getvalue()
    return files


def wait_for_embeddings(cache_dir: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while (found := len(list(cache_dir.glob("??/*.safetensors")))) != count:
        assert time.monotonic() < deadline, f"{found} embeddings, not {count}"
        time.sleep(0.1)


def encodes(backend: Backend) -> float:
    lines = httpx.get(f"{backend.url}/metrics").text.splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("mobilesam_encodes_total"))


def test_new_tasks_are_embedded_and_deleted_ones_dropped(
    label_studio: LabelStudio, backend: Backend, cache_dir: Path
) -> None:
    project_id = label_studio.create_project("prefetch", CONFIG)
    label_studio.connect(project_id, backend.url)
    label_studio.upload(project_id, images(3))
    wait_for_embeddings(cache_dir, 3)

    label_studio.delete_task(label_studio.tasks(project_id)[0]["id"])
    wait_for_embeddings(cache_dir, 2)
    assert encodes(backend) == 3


def test_finishing_a_task_embeds_the_next_ones(
    label_studio: LabelStudio, backend: Backend, cache_dir: Path
) -> None:
    project_id = label_studio.create_project("next", CONFIG)
    label_studio.upload(project_id, images(LOOK_AHEAD + 3))
    label_studio.connect(project_id, backend.url)
    first, *_ = label_studio.tasks(project_id)
    label_studio.annotate(first["id"], [])
    wait_for_embeddings(cache_dir, LOOK_AHEAD)
    assert encodes(backend) == LOOK_AHEAD


def test_a_precomputed_project_is_never_encoded_again(
    label_studio: LabelStudio, settings: dict[str, str], cache_dir: Path, tmp_path: Path
) -> None:
    project_id = label_studio.create_project("precompute", CONFIG)
    label_studio.upload(project_id, images(4))
    done = subprocess.run(
        [sys.executable, "-m", "backend", "precompute", "--project", str(project_id)],
        cwd=ROOT,
        env={**os.environ, **settings},  # noqa: TID251
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    wait_for_embeddings(cache_dir, 4)

    backend = Backend(tmp_path / "log", **settings)
    tasks = label_studio.tasks(project_id)
    opened = {"tasks": tasks, "label_config": CONFIG, "params": {"context": None}}
    assert httpx.post(f"{backend.url}/predict", json=opened).json() == {"results": [[]] * 4}
    deadline = time.monotonic() + 60
    while (
        'mobilesam_jobs_total{outcome="done"} 4.0' not in httpx.get(f"{backend.url}/metrics").text
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert encodes(backend) == 0
    backend.stop()
