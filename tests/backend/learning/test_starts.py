"""Who can start the learner, and when it is not started again."""

import socket
import threading
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from backend import request_context
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.learning import starts
from backend.learning.errors import RunningError
from backend.learning.runs import LearningRuns
from backend.learning.starts import LearningStarts, starter


class Projects:
    """The API of a Label Studio that has project 1 only."""

    def __init__(self, annotations: int) -> None:
        self.annotations = annotations
        self.asked: list[int] = []
        self.team: object = None
        self.may_answer = threading.Event()
        self.may_answer.set()

    def project(self, project_id: int) -> dict[str, Any]:
        self.asked.append(project_id)
        self.team = request_context.fields().get("team")
        assert self.may_answer.wait(60)
        if project_id != 1:
            raise LabelStudioError(f"Label Studio has no project {project_id}")
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
            team="red",
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
    assert "project 7 cannot learn: Label Studio has no project 7" in caplog.text


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


@pytest.mark.parametrize("is_refused", [True, False])
def test_without_a_password_only_new_annotations_are_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    monkeypatch.setattr(starts, "_EVERY_S", 0)
    learner = Started(tmp_path)
    with learner.runs.hold(1):
        if is_refused:
            learner.runs.note_progress(1, {"sentence": "annotate more", "annotations": 50})
        else:
            learner.runs.note_report(1, {"data": {"annotations": 50}})
    learner.event("START_TRAINING")
    assert learner.projects == []
    learner.api.annotations = 51
    for _ in range(3):
        learner.event("START_TRAINING")
    assert learner.projects == [1]


def test_whoever_sends_the_password_is_not_asked_for_new_annotations(tmp_path: Path) -> None:
    learner = Started(tmp_path, needs_password=True)
    with learner.runs.hold(1):
        learner.runs.note_report(1, {"data": {"annotations": 50}})
    learner.event("START_TRAINING", has_password=True)
    assert learner.projects == [1]


def test_while_another_project_learns_here_none_is_started(tmp_path: Path) -> None:
    runs = LearningRuns(tmp_path, None, "red")
    with (
        LearningRuns(tmp_path, None, "blue").hold(2),
        pytest.raises(RunningError, match="another project learns on this machine"),
    ):
        starter(runs, None, "red")(1)


def test_a_project_that_had_to_wait_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(starts, "_EVERY_S", 0)
    learner = Started(tmp_path)

    def refuse(project_id: int) -> None:
        raise RunningError("another project learns on this machine")

    with monkeypatch.context() as busy:
        busy.setattr(learner.starts, "_start", refuse)
        learner.event("START_TRAINING")
    assert "project 1 cannot learn: another project learns on this machine" in caplog.text
    learner.event("START_TRAINING")
    assert learner.projects == [1]


def test_annotations_of_other_projects_do_not_bar_the_button(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learner = Started(tmp_path, every=1)
    learner.api.may_answer.clear()
    before = set(threading.enumerate())
    for project_id in range(2, 6):
        learner.starts.event("ANNOTATION_CREATED", project_id, has_password=False)
    learner.starts.event("START_TRAINING", 1, has_password=False)
    learner.api.may_answer.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert learner.projects == [1]
    assert "ANNOTATION_CREATED of project 5 is dropped" in caplog.text


def test_the_log_names_the_team(tmp_path: Path) -> None:
    learner = Started(tmp_path)
    learner.event("START_TRAINING")
    assert learner.api.team == "red"


def test_a_redis_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "_REDIS_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(redis.TimeoutError):
            starter(LearningRuns(tmp_path, url), url)(1)
