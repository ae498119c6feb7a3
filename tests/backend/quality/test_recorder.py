"""The threads that count what became of suggestions."""

import json
import queue
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import metrics, request_context
from backend.label_studio.client import LabelStudio
from backend.quality.places import Task
from backend.quality.recorder import Recorder
from backend.quality.suggestion import Suggestion
from backend.regions.prompts import Interaction


class Place:
    """Notes the team of the threads that use the place."""

    def __init__(self, suggestions: list[bytes]) -> None:
        self.teams: queue.Queue[object] = queue.Queue()
        self.suggestions = suggestions

    def _note(self) -> None:
        self.teams.put(request_context.fields().get("team"))

    def put(self, task: Task, data: bytes) -> None:
        self._note()

    def has(self, task: Task) -> bool:
        self._note()
        return bool(self.suggestions)

    def take(self, task: Task) -> list[bytes]:
        return self.suggestions


@pytest.mark.parametrize("team", ["red", ""])
def test_the_log_names_the_team_whose_suggestions_are_counted(team: str) -> None:
    place = Place([])
    recorder = Recorder(place, LabelStudio(None, None), team)
    recorder.start()
    prompt = Interaction("image", (), points=((1, 2, 1),), region_id="p")
    recorder.shown(1, 7, "base", [(prompt, [{"id": "p"}])])
    assert place.teams.get(timeout=60) == (team or None)
    recorder.event("ANNOTATION_CREATED", {"annotation": {"project": 1, "task": 7, "id": 3}})
    assert place.teams.get(timeout=60) == (team or None)


def test_a_damaged_suggestion_leaves_the_others(
    tmp_path: Path, serve: Callable[[Path], str]
) -> None:
    annotation = {"project": 1, "task": 7, "id": 3}
    for path, answer in {
        "version": {"release": "1.23.2"},
        "annotations/3": {**annotation, "result": []},
    }.items():
        (tmp_path / "api" / path).mkdir(parents=True)
        (tmp_path / "api" / path / "index.html").write_text(json.dumps(answer))
    shown = Suggestion("p", 1, "base", 0.0, [{"id": "r"}]).dumps()
    recorder = Recorder(Place([b"noise", shown]), LabelStudio(serve(tmp_path), "token"), "damaged")
    recorder.start()
    recorder.event("ANNOTATION_CREATED", {"annotation": annotation})
    rejected = metrics.SUGGESTIONS.labels("damaged/1", "base", "rejected")
    deadline = time.monotonic() + 60
    while rejected._value.get() < 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
