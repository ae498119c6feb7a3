"""A team labels fried eggs in a real Label Studio, and the backend learns what an egg is."""

import json
import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from demo.backend import ROOT, Backend
from demo.label_studio import LabelStudio
from model.formats import brush_rle

CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
SIDE = 128

# What `python -m training.learning` does, with small numbers.
PROGRAM = """
import sys
from backend.settings import Settings
from training.learning import gate, run
from training.learning.decoder import Recipe
from training.learning.pictures import Role
from training.learning.project import Plan, learn_project
run._CHECK_STEPS = 10
# Three scenes say little of what was forgotten.
gate.ALLOWED_LOSS, gate._ALLOWED_OBSTINACY = 0.05, 0.5
recipe = Recipe(steps=30, learning_rate=2e-4, objects=6, scene_objects=3, corrections=2)
plan = Plan(int(sys.argv[1]), recipe, minimum_objects=30)
counts = {Role.JUDGE: 3, Role.WATCH: 3, Role.LEARN: 8}
print(learn_project(plan, Settings.from_env(), counts)["text"])
"""


def fried_egg(number: int) -> tuple[bytes, np.ndarray]:
    """A picture as PNG, and the mask of the egg. A click in the middle is on the yolk."""
    rng = np.random.default_rng((78, number))
    picture = Image.new("RGB", (SIDE, SIDE), tuple(rng.integers(90, 130, 3).tolist()))
    x, y = (SIDE // 2 + rng.integers(-10, 11, 2)).tolist()
    width, height = rng.integers(36, 50, 2).tolist()
    egg = Image.new("1", (SIDE, SIDE))
    for image, colour in ((picture, (70, 60, 160)), (egg, 1)):
        ImageDraw.Draw(image).ellipse((x - width, y - height, x + width, y + height), fill=colour)
    yolk = 0.55 * min(width, height)
    ImageDraw.Draw(picture).ellipse((x - yolk, y - yolk, x + yolk, y + yolk), fill=(30, 150, 90))
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue(), np.asarray(egg)


def labelled_project(label_studio: LabelStudio, name: str, count: int) -> int:
    """A project of eggs that somebody has outlined; returns its id."""
    project_id = label_studio.create_project(name, CONFIG)
    eggs = [fried_egg(number) for number in range(count)]
    label_studio.upload(project_id, {f"{n:03}.png": png for n, (png, _) in enumerate(eggs)})
    for task in label_studio.tasks(project_id):
        number = int(task["data"]["image"][-7:-4])
        region = {
            "id": f"egg {number}", "type": "brushlabels", "from_name": "brush", "to_name": "image",
            "original_width": SIDE, "original_height": SIDE, "image_rotation": 0,
            "value": {
                "format": "rle", "rle": brush_rle.encode(eggs[number][1]),
                "brushlabels": ["Object"],
            },
        }  # fmt: skip
        label_studio.annotate(task["id"], [region])
    return project_id


@pytest.fixture
def settings(label_studio: LabelStudio, small_base: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "MOBILESAM_CHECKPOINT": str(small_base),
        "MODEL_DIR": str(tmp_path / "models"),
        "CACHE_DIR": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def start(settings: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **settings},  # noqa: TID251
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_progress(folder: Path, name: str, process: subprocess.Popen[str] | None = None) -> Any:
    """What the learner notes under a name, as soon as that is there and not 0."""
    deadline = time.monotonic() + 300
    while True:
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[1]
        path = folder / "learning" / "progress.json"
        value = json.loads(path.read_text()).get(name) if path.exists() else None
        if value:
            return value
        time.sleep(0.1)


def test_a_project_learns_what_an_egg_is_although_the_learner_is_killed(
    label_studio: LabelStudio, settings: dict[str, str], tmp_path: Path
) -> None:
    project_id = labelled_project(label_studio, "eggs", 30)
    folder = Path(settings["MODEL_DIR"]) / "projects" / str(project_id)
    first = start(settings, "-c", PROGRAM, str(project_id))
    while not (folder / "learning" / "work" / "state.pt").exists():
        wait_for_progress(folder, "phase", first)
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = torch.load(folder / "learning" / "work" / "state.pt", weights_only=True)
    (folder / "learning" / "progress.json").unlink()  # the next one is of the second process

    second = start(settings, "-c", PROGRAM, str(project_id))
    assert wait_for_progress(folder, "steps", second) >= kept["progress"]["steps"]
    output, errors = second.communicate(timeout=600)
    assert second.returncode == 0, errors
    assert "version 1 is offered" in output, output
    assert "Learnt from 30 tasks with 30 objects" in output
    assert (folder / "v1.safetensors").exists()
    report = json.loads((folder / "learning" / "report.json").read_text())
    clicks = report["verdict"]["gains"]["noc_85"]
    assert clicks["after"] < clicks["before"]
    assert not (folder / "learning" / "work").exists()

    command = ("-m", "backend", "learn", "--project", str(project_id))
    output, errors = start(settings, *command, "--activate", "1").communicate()
    assert output == f"project {project_id} is served by v1\n", errors


def test_the_button_starts_the_learner_which_says_that_five_tasks_are_too_few(
    label_studio: LabelStudio, settings: dict[str, str], tmp_path: Path
) -> None:
    project_id = labelled_project(label_studio, "five eggs", 5)
    password = ("labelling", "secret")
    backend = Backend(
        tmp_path / "log", **settings, BASIC_AUTH_USER=password[0], BASIC_AUTH_PASS=password[1]
    )
    backend_id = label_studio.connect(project_id, backend.url, password)
    label_studio.start_training(backend_id)
    folder = Path(settings["MODEL_DIR"]) / "projects" / str(project_id)
    sentence = wait_for_progress(folder, "sentence")
    backend.stop()
    assert "has 5 tasks with 5 outlined objects, and learning needs 30 tasks" in sentence
