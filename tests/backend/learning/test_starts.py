"""Who can start the learner, and when it is not started again."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.learning import starts
from backend.learning.runs import LearningRuns
from backend.learning.starts import LearningStarts


class Projects:
    """The API of a Label Studio that has project 1 only."""

    def __init__(self, annotations: int) -> None:
        self.annotations = annotations
        self.asked: list[int] = []

    def project(self, project_id: int) -> dict[str, Any]:
        self.asked.append(project_id)
        if project_id != 1:
            raise LabelStudioError(f"Label Studio has no /api/projects/{project_id}/")
        return {"id": 1, "total_annotations_number": self.annotations}


class Started:
    """A learner whose starts are counted."""

    def __init__(
        self, folder: Path, *, annotations: int = 50, every: int = 0, needs_password: bool = False
    ) -> None:
        self.projects: list[int] = []
        self.api = Projects(annotations)
        self.runs = LearningRuns(folder, None)
        self.starts = LearningStarts(
            cast(LabelStudio, self.api),
            self.runs,
            self.projects.append,
            every,
            needs_password=needs_password,
        )

    def event(self, action: str, project_id: int | None = 1, *, has_password: bool = False) -> None:
        before = set(threading.enumerate())
        self.starts.event(action, project_id, has_password=has_password)
        for thread in set(threading.enumerate()) - before:
            thread.join()


def test_start_training_starts_the_learner(tmp_path: Path) -> None:
    learner = Started(tmp_path)
    learner.event("START_TRAINING")
    assert learner.projects == [1]


def test_it_is_started_once_however_often_somebody_asks(tmp_path: Path) -> None:
    learner = Started(tmp_path)
    for _ in range(20):
        learner.event("START_TRAINING")
    assert learner.projects == [1]
    assert learner.api.asked == [1]  # a flood of requests is no flood of questions


def test_with_a_password_only_the_button_starts_it(tmp_path: Path) -> None:
    learner = Started(tmp_path, needs_password=True)
    learner.event("START_TRAINING")
    assert (learner.projects, learner.api.asked) == ([], [])
    learner.event("START_TRAINING", has_password=True)
    assert learner.projects == [1]


def test_a_project_that_the_api_does_not_know_is_not_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learner = Started(tmp_path)
    learner.event("START_TRAINING", 7)
    learner.event("START_TRAINING", None)
    assert learner.projects == []
    assert "project 7 cannot learn: Label Studio has no /api/projects/7/" in caplog.text


def test_while_a_run_goes_on_no_other_is_started(tmp_path: Path) -> None:
    learner = Started(tmp_path)
    with LearningRuns(tmp_path, None).hold(1):
        learner.event("START_TRAINING")
    assert learner.projects == []


@pytest.mark.parametrize(
    ("every", "known", "annotations", "starts"),
    [
        pytest.param(0, 0, 500, False, id="switched off"),
        pytest.param(50, 0, 50, True, id="enough for the first run"),
        pytest.param(50, 0, 49, False, id="too few for the first run"),
        pytest.param(50, 100, 150, True, id="enough since the last run"),
        pytest.param(50, 101, 150, False, id="too few since the last run"),
    ],
)
def test_it_starts_after_every_so_many_new_annotations(
    tmp_path: Path, every: int, known: int, annotations: int, starts: bool
) -> None:
    learner = Started(tmp_path, annotations=annotations, every=every, needs_password=True)
    if known:
        with learner.runs.hold(1):
            learner.runs.note_report(1, {"data": {"annotations": known}})
    learner.event("ANNOTATION_CREATED")
    assert learner.projects == ([1] if starts else [])


def test_other_events_start_nothing(tmp_path: Path) -> None:
    learner = Started(tmp_path, every=1)
    for action in ("TASKS_CREATED", "ANNOTATIONS_DELETED", "PROJECT_UPDATED", ""):
        learner.event(action)
    assert learner.api.asked == []


def test_a_run_that_learnt_nothing_is_not_repeated_at_every_annotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "_EVERY_S", 0)
    learner = Started(tmp_path, annotations=50, every=50)
    for annotations in (50, 51, 99, 100):
        learner.api.annotations = annotations
        learner.event("ANNOTATION_CREATED")
    assert learner.projects == [1, 1]  # at 50 and at 100
    assert len(learner.api.asked) == 4
