"""A run that was killed goes on. A run that has failed does not fail for ever."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.images.errors import ImageError
from backend.learning.errors import TooLittleError
from backend.learning.runs import LearningRuns
from backend.service import Service
from backend.settings import Settings
from model.formats import brush_rle
from model.predictor import Predictor
from model.types import ImageEmbedding
from training.learning import project
from training.learning.decoder import Recipe
from training.learning.pictures import Role
from training.learning.project import Plan, learn_project

pytestmark = pytest.mark.slow

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">'
    '<Label value="Egg"/></BrushLabels></View>'
)
SIDE = 256
COUNTS = {Role.JUDGE: 1, Role.WATCH: 1, Role.LEARN: 1}


class Team:
    """A project of 20 tasks with a disc each, and the storage of its images."""

    def __init__(self, predictor: Predictor) -> None:
        self.is_stored = True
        self.tasks = 20
        self.asked = self.embedded = 0
        self.predictor = predictor
        self.label_studio = self.segmenter = self

    def project(self, project_id: int) -> dict[str, Any]:
        self.asked += 1
        return {"label_config": CONFIG, "total_annotations_number": self.tasks}

    def all_tasks(self, *arguments: object, **options: object) -> list[dict[str, Any]]:
        return [_task(number) for number in range(1, self.tasks + 1)]

    def embed(self, *arguments: object, **options: object) -> ImageEmbedding:
        if not self.is_stored:
            raise ImageError("the storage gives no answer")
        self.embedded += 1
        image = np.where(_disc()[..., None], 200, 90).astype(np.uint8).repeat(3, axis=2)
        return self.predictor.embed(image)

    def embed_crop(self, *arguments: object) -> None:
        return None


def _disc() -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.asarray((rows - 128) ** 2 + (columns - 128) ** 2 < 80**2)


def _task(number: int) -> dict[str, Any]:
    region = {
        "id": "disc", "type": "brushlabels", "from_name": "brush", "to_name": "image",
        "original_width": SIDE, "original_height": SIDE,
        "value": {"format": "rle", "rle": brush_rle.encode(_disc()), "brushlabels": ["Egg"]},
    }  # fmt: skip
    annotation = {"id": number, "result": [region]}
    return {"id": number, "data": {"image": f"/data/{number}.png"}, "annotations": [annotation]}


@pytest.fixture
def team(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Team:
    made = Team(predictor)
    monkeypatch.setattr(Service, "start", lambda settings: made)
    return made


@pytest.fixture
def learn(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    plan = Plan(1, Recipe(steps=1, objects=2, scene_objects=1, corrections=1), 10.0, 20, 20)
    settings = Settings.from_env({"MODEL_DIR": str(tmp_path)})
    return lambda: learn_project(plan, settings, COUNTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return LearningRuns(tmp_path / "projects", None).folder(1)


def test_after_a_run_without_the_images_the_next_run_begins_anew(
    team: Team,
    learn: Callable[[], dict[str, Any]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team.is_stored = False
    with pytest.raises(ValueError, match="no object of the tasks to learn from"):
        learn()
    assert not (folder / "work").exists()
    team.is_stored = True
    monkeypatch.setattr(project, "train", _killed)
    with pytest.raises(KeyboardInterrupt):
        learn()  # there are lessons now
    assert team.asked == 2


def test_a_refused_run_keeps_nothing(
    team: Team, learn: Callable[[], dict[str, Any]], folder: Path
) -> None:
    team.tasks = 19
    with pytest.raises(TooLittleError, match="has 19 tasks") as refusal:
        learn()
    assert refusal.value.annotations == 19
    assert not (folder / "annotations.json.gz").exists()


def test_a_stopped_run_goes_on_with_its_annotations(
    team: Team,
    learn: Callable[[], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = LearningRuns(tmp_path / "projects", None)
    with runs.hold(1):
        runs.note_progress(1, {"phase": "ended", "sentence": "annotate more"})
    for stop in (_killed, _without_space, _killed):
        monkeypatch.setattr(project, "train", stop)
        with pytest.raises((KeyboardInterrupt, OSError)):
            learn()
    assert team.asked == 1
    assert "sentence" not in runs.progress(1)
    assert team.embedded == 16  # once each; the other four are held out


def _killed(*arguments: object) -> None:
    raise KeyboardInterrupt


def _without_space(*arguments: object) -> None:
    raise OSError("the disk is full")
