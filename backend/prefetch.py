"""Embeds images before anybody clicks on them.

What Label Studio tells of an annotator's way through a project says which images come next. They
wait in a bounded queue that one thread of each worker empties; clicks always go first.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from backend import metrics
from backend.embeddings.priority import Priority
from backend.embeddings.segmenter import Segmenter
from backend.images.errors import ImageError
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig, whole_number

logger = logging.getLogger(__name__)

_MAX_WAITING = 500
_LOOK_AHEAD = 5  # tasks after the one an annotator is at


class Prefetcher:
    """A background queue of images to embed. Every method returns at once and never raises.

    Nothing is embedded before :meth:`start`.

    Args:
        segmenter: does the work; shares its embeddings with the clicks.
        label_studio: says which tasks come next; without it only what a request names is done.
    """

    def __init__(self, segmenter: Segmenter, label_studio: LabelStudio | None) -> None:
        self._segmenter = segmenter
        self._label_studio = label_studio
        self._order = itertools.count()  # first in, first out within a priority
        self._waiting: queue.PriorityQueue[tuple[Priority, int, Callable[[], None]]] = (
            queue.PriorityQueue()
        )
        self._is_full = False  # said once, until the queue has been empty again

    def start(self) -> None:
        """Begin to empty the queue, in a thread of its own."""
        threading.Thread(target=self._work, name="prefetch", daemon=True).start()

    def tasks_opened(self, tasks: list[dict[str, Any]], config: LabelingConfig) -> None:
        """An annotator has opened a task, or somebody asked for predictions of many."""
        priority = Priority.OPENED if len(tasks) == 1 else Priority.REST
        self._put_tasks(priority, tasks, config)
        if len(tasks) == 1:
            project_id, task_id = (
                whole_number(tasks[0].get("project")),
                whole_number(tasks[0].get("id")),
            )
            if project_id is not None and task_id is not None:
                self._put(Priority.NEXT, partial(self._look_ahead, project_id, task_id))

    def event(self, action: str, body: Mapping[str, Any]) -> None:
        """A webhook of Label Studio. It is not signed: it only says where to ask the API."""
        project = body.get("project")
        project_id = whole_number(project.get("id")) if isinstance(project, dict) else None
        if project_id is None:
            return
        if action == "ANNOTATION_CREATED":
            annotation = body.get("annotation")
            task_id = whole_number(annotation.get("task")) if isinstance(annotation, dict) else None
            if task_id is not None:
                self._put(Priority.NEXT, partial(self._look_ahead, project_id, task_id))
        elif action == "TASKS_CREATED":
            created = _ids(body.get("tasks"))
            if created:
                self._put(Priority.REST, partial(self._look_up, project_id, created))
        elif action == "TASKS_DELETED":
            for task_id in _ids(body.get("tasks")):
                self._put(Priority.REST, partial(self._forget, task_id))

    def wait_until_empty(self) -> None:
        """Wait until everything that has been put into the queue is done."""
        self._waiting.join()

    def _put(self, priority: Priority, job: Callable[[], None]) -> None:
        # what is wanted soon finds room when an import of thousands has filled the queue
        room = _MAX_WAITING if priority is Priority.REST else 2 * _MAX_WAITING
        if self._waiting.qsize() < room:
            self._waiting.put((priority, next(self._order), job))
            metrics.WAITING.set(self._waiting.qsize())
            return
        metrics.JOBS.labels("dropped").inc()
        if not self._is_full:
            logger.warning(
                "more than %d images wait to be embedded; the rest is embedded when it is clicked."
                " For whole projects there is python -m backend precompute.",
                room,
            )
        self._is_full = True

    def _put_tasks(
        self, priority: Priority, tasks: Iterable[Mapping[str, Any]], config: LabelingConfig
    ) -> None:
        for task in tasks:
            # of a task that carries megabytes of drafts along, this is all that is waited with
            wanted = {"id": task.get("id"), "data": task.get("data")}
            self._put(priority, partial(self._embed, wanted, config, priority))

    def _work(self) -> None:
        while True:
            _, _, job = self._waiting.get()
            self._is_full = self._is_full and not self._waiting.empty()
            metrics.WAITING.set(self._waiting.qsize())
            try:
                job()
                metrics.JOBS.labels("done").inc()
            except (
                ImageError,
                LabelStudioError,
                MalformedRequestError,
                UnanswerableRequestError,
            ) as error:
                metrics.JOBS.labels("failed").inc()
                logger.warning("an image was not embedded ahead of its click: %s", error)
            except Exception:  # the thread must outlive what nobody foresaw
                metrics.JOBS.labels("failed").inc()
                logger.exception("embedding ahead failed")
            finally:
                self._waiting.task_done()

    def _embed(self, task: Mapping[str, Any], config: LabelingConfig, priority: Priority) -> None:
        for ref in config.image_refs(task):
            self._segmenter.embed(ref, priority=priority)

    def _look_ahead(self, project_id: int, task_id: int) -> None:
        if self._label_studio is not None:
            tasks = self._label_studio.tasks_after(project_id, task_id, _LOOK_AHEAD)
            self._put_tasks(Priority.NEXT, tasks, self._config(self._label_studio, project_id))

    def _look_up(self, project_id: int, task_ids: list[int]) -> None:
        """Embed tasks that somebody says have been created, as far as the API knows them."""
        if self._label_studio is None:
            return
        count = min(len(task_ids), _MAX_WAITING)
        tasks = self._label_studio.tasks_after(project_id, min(task_ids) - 1, count)
        wanted = set(task_ids)
        created = [task for task in tasks if task["id"] in wanted]
        self._put_tasks(Priority.REST, created, self._config(self._label_studio, project_id))

    @staticmethod
    def _config(label_studio: LabelStudio, project_id: int) -> LabelingConfig:
        return LabelingConfig.parse(label_studio.project(project_id)["label_config"])

    def _forget(self, task_id: int) -> None:
        """Drop a task that somebody says has been deleted, once the API knows it no longer."""
        if self._label_studio is not None and not self._label_studio.has_task(task_id):
            self._segmenter.forget_task(task_id)


def _ids(tasks: Any) -> list[int]:
    if not isinstance(tasks, list):
        return []
    ids = [whole_number(task.get("id")) for task in tasks if isinstance(task, dict)]
    return [task_id for task_id in ids if task_id is not None]
