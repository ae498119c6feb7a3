"""Two real Label Studios, on two ports, use one backend."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

from backend.label_studio.errors import LabelStudioError
from demo.backend import ROOT, Backend
from demo.label_studio import LabelStudio
from demo.smart_regions import keypoint
from model.weights import BUILTIN_PATH

CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
WIDTH, HEIGHT = 320, 240
URL = "/data/local-files/?d=pictures/a.png"  # in both, and another picture in each
LEFT = {"teamA": 10, "teamB": 120}  # where the rectangle begins in the picture of each team


@pytest.fixture(scope="module")
def studios(
    label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, LabelStudio]]:
    """The Label Studio of all tests, and a copy. Project and task numbers are the same in both."""
    first = label_studio.log_path.parent
    copy = tmp_path_factory.mktemp("second") / "label-studio"
    shutil.copytree(first, copy, ignore=shutil.ignore_patterns("*.sqlite3*", "*.log", "pictures"))
    (database,) = first.glob("*.sqlite3")
    source, target = sqlite3.connect(database), sqlite3.connect(copy / database.name)
    source.backup(target)
    source.close()
    target.close()
    executable = Path(str(label_studio.process.args[0]))
    second = LabelStudio(executable, copy)
    studios = {"teamA": label_studio, "teamB": second}
    for team, studio in studios.items():
        folder = studio.log_path.parent / "pictures"
        folder.mkdir(exist_ok=True)
        picture = Image.new("RGB", (WIDTH, HEIGHT), (120, 120, 120))
        picture.paste((210, 50, 40), (LEFT[team], 60, LEFT[team] + 180, 180))
        picture.save(folder / "a.png")
    yield studios
    second.stop()


@pytest.fixture(scope="module")
def environment(studios: dict[str, LabelStudio], tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("teams")
    path = folder / "teams.toml"
    tables = (
        f'[{team}]\nurl = "{studio.url}"\napi_key = "{studio.token}"\n'
        for team, studio in studios.items()
    )
    path.write_text("\n".join(tables))
    return {
        "LABEL_STUDIOS": str(path),
        "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
        "CACHE_DIR": str(folder / "cache"),
        "CACHE_DISK_GB": "1",
    }


@pytest.fixture(scope="module")
def backend(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    server = Backend(tmp_path_factory.mktemp("backend") / "log", **environment, WORKERS="2")
    yield server
    server.stop()


def new_project(studio: LabelStudio) -> tuple[int, int]:
    """A project of one task. Returns the ids of both."""
    project_id = studio.create_project("teams", CONFIG)
    studio.connect_folder(project_id, studio.log_path.parent / "pictures")
    studio.import_tasks(project_id, [{"image": URL}])
    (task,) = studio.tasks(project_id)
    return project_id, task["id"]


def columns(prediction: dict) -> tuple[int, int]:
    """The first and the last column of the mask."""
    (region,) = prediction["result"]
    mask = decode_rle(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[..., 3] > 0
    found = np.flatnonzero(mask.any(axis=0))
    return int(found[0]), int(found[-1])


def test_each_label_studio_gets_masks_of_its_own_images(
    studios: dict[str, LabelStudio], backend: Backend, environment: dict[str, str]
) -> None:
    made = {team: new_project(studio) for team, studio in studios.items()}
    assert made["teamA"] == made["teamB"]
    middle = keypoint(50, 50, width=WIDTH, height=HEIGHT)
    backends = {
        team: studio.connect(made[team][0], f"{backend.url}/{team}")
        for team, studio in studios.items()
    }
    for _ in range(2):  # encoded, then found in the caches
        for team, studio in studios.items():
            found = studio.interact(backends[team], made[team][1], {"result": [middle]})
            assert np.allclose(columns(found), (LEFT[team], LEFT[team] + 180), atol=12)

    for team, (project_id, _) in made.items():
        command = ["doctor", "--team", team, "--project", str(project_id)]
        done = subprocess.run(
            [sys.executable, "-m", "backend", *command],
            cwd=ROOT,
            env={**os.environ, **environment},  # noqa: TID251
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"ok\tregistered\t{backend.url}/{team}\n" in done.stdout
        assert f"ok\tlabel studio\tLabel Studio 1.23.2 at {studios[team].url}\n" in done.stdout


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/teamB", "the path /teamB is that of another Label Studio than http://"),
        ("", "the URL of the backend must end in the path of your Label Studio"),
    ],
)
def test_the_path_of_another_team_is_refused_with_a_sentence(
    studios: dict[str, LabelStudio], backend: Backend, path: str, sentence: str
) -> None:
    project_id, _ = new_project(studios["teamA"])
    with pytest.raises(LabelStudioError, match=sentence):
        studios["teamA"].connect(project_id, f"{backend.url}{path}")
