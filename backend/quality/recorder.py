"""Counts what suggested masks were worth, for each project and version of its decoder."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import redis

from backend import metrics, request_context
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.quality.places import Place, Task
from backend.quality.suggestion import Suggestion
from backend.quality.verdicts import Verdict, judge
from backend.regions.errors import MalformedRequestError
from backend.regions.labeling_config import whole_number
from backend.regions.prompts import Interaction

logger = logging.getLogger(__name__)

_MOST_WAITING = 200
_EXPECTED = (LabelStudioError, MalformedRequestError, OSError, ValueError, redis.RedisError)
_SUBMITTED = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")

Shown = tuple[Interaction, list[dict[str, Any]]]  # a prompt, and the regions of its mask


class Recorder:
    """Notes the suggestions, and looks what became of them when a task is submitted.

    Every method returns at once and never raises. Where there is too much to do, or a place or
    Label Studio gives no answer, the counts lack some suggestions.

    Args:
        place: where suggestions wait.
        label_studio: tells what was submitted. None: only the suggestions shown are counted.
        team: stands before the project in the labels of the counts, and in the log.
    """

    def __init__(self, place: Place, label_studio: LabelStudio | None, team: str = "") -> None:
        self._place = place
        self._label_studio = label_studio
        self._prefix = f"{team}/" if team else ""
        # Two threads: a slow Label Studio must not make suggestions late.
        self._notes, self._events = _Worker("suggestions", team), _Worker("submissions", team)

    def start(self) -> None:
        """Begin to work."""
        self._notes.start()
        self._events.start()

    def shown(
        self, project_id: int | None, task_id: int | None, version: str, shown: Sequence[Shown]
    ) -> None:
        """Note the suggestions of an answer.

        Args:
            project_id: the project of the task.
            task_id: the task.
            version: the decoder that answered; see :class:`Suggestion`.
            shown: the prompts, and the regions of their masks.
        """
        if project_id is None:
            return
        now = time.time()
        suggestions = [
            Suggestion(prompt.region_id, prompt.click_count, version, now, list(regions))
            for prompt, regions in shown
            if prompt.region_id and regions
        ]
        labels = self._labels(project_id, version)
        metrics.SUGGESTIONS.labels(*labels, "shown").inc(len(suggestions))
        if suggestions and task_id is not None and self._label_studio is not None:
            self._notes.put(partial(self._keep, (project_id, task_id), suggestions))

    def event(self, action: str, body: Mapping[str, Any]) -> None:
        """Take the hint of a webhook. Its content is looked up in Label Studio's API."""
        annotation = body.get("annotation")
        if action not in _SUBMITTED or not isinstance(annotation, dict):
            return
        names = ("project", "task", "id")
        project_id, task_id, annotation_id = (whole_number(annotation.get(n)) for n in names)
        if project_id is not None and task_id is not None and annotation_id is not None:
            task = (project_id, task_id)
            self._events.put(partial(self._look, task, annotation_id, time.time()))

    def _keep(self, task: Task, suggestions: Sequence[Suggestion]) -> None:
        for suggestion in suggestions:
            self._place.put(task, suggestion.dumps())

    def _look(self, task: Task, annotation_id: int, received_at: float) -> None:
        if self._label_studio is None or not self._place.has(task):
            return
        annotation = self._label_studio.annotation(annotation_id)
        if (annotation.get("project"), annotation.get("task")) != task:
            return
        suggestions = []
        for suggestion in _readable(self._place.take(task)):
            if suggestion.shown_at > received_at:  # of the next annotator
                self._place.put(task, suggestion.dumps())
            else:
                suggestions.append(suggestion)
        if annotation.get("was_cancelled"):  # the annotator has skipped the task
            return
        for verdict in judge(suggestions, annotation.get("result") or []):
            self._count(task[0], verdict)

    def _count(self, project_id: int, verdict: Verdict) -> None:
        labels = self._labels(project_id, verdict.version)
        metrics.SUGGESTIONS.labels(*labels, verdict.outcome).inc()
        if verdict.outcome != "rejected":
            metrics.OBJECT_CLICKS.labels(*labels).observe(verdict.clicks)
        if verdict.outcome == "corrected" and verdict.iou is not None:
            metrics.CORRECTED_IOU.labels(*labels).observe(verdict.iou)

    def _labels(self, project_id: int, version: str) -> tuple[str, str]:
        return metrics.of_version(f"{self._prefix}{project_id}", version)


def _readable(found: Iterable[bytes]) -> Iterator[Suggestion]:
    """The suggestions of a place. Damaged ones are left out."""
    for data in found:
        try:
            yield Suggestion.loads(data)
        except ValueError as error:
            metrics.FAILURES.labels("quality").inc()
            logger.info("a suggestion was not counted: %s", error)


class _Worker:
    """A thread with a short queue. What finds no room in the queue is dropped."""

    def __init__(self, name: str, team: str) -> None:
        self._team = team
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            metrics.FAILURES.labels("quality").inc()

    def _work(self) -> None:
        request_context.note(team=self._team or None)
        while True:
            job = self._jobs.get()
            try:
                job()
            except _EXPECTED as error:
                metrics.FAILURES.labels("quality").inc()
                # No warning: anybody can send a webhook, and /status is for the problems of clicks.
                logger.info("what became of suggestions was not counted: %s", error)
            except Exception:  # the thread must go on after an unforeseen error
                metrics.FAILURES.labels("quality").inc()
                logger.exception("what became of suggestions was not counted")
