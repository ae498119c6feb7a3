"""The threads that count what became of suggestions."""

import queue

import pytest

from backend import request_context
from backend.label_studio.client import LabelStudio
from backend.quality.places import Task
from backend.quality.recorder import Recorder
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
