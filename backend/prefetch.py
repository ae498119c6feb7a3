"""Embeds images before anybody clicks on them.

Label Studio reports which tasks an annotator opens and finishes. From these reports follow the
images that come next. They wait in a bounded queue, and one thread of each worker embeds them. A
click always goes first.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any

from backend import metrics, request_context
from backend.embeddings.job_queue import Job, JobQueue, Source
from backend.embeddings.priority import Priority
from backend.embeddings.segmenter import Segmenter
from backend.images.image_ref import ImageRef
from backend.label_studio.client import LabelStudio
from backend.predictions.errors import TASK_ERRORS
from backend.regions.labeling_config import LabelingConfig, whole_number
from backend.teams import team_option

logger = logging.getLogger(__name__)

_MAX_WAITING = 500  # jobs of each source
_MAX_BYTES = 64 << 20  # of each source; the URL of an image may be a data: URI of megabytes
_LOOK_AHEAD = 5  # tasks after the task that an annotator has opened
_SHOWN_AT_ONCE = 20  # images of an opened task; the others of a long list can wait


class Prefetcher:
    """Embeds images in the background. Every method returns at once and never raises.

    Nothing is embedded before :meth:`start`.

    Args:
        segmenter: embeds the images. Clicks find the embeddings in its store.
        label_studio: names the tasks that come next. None: only the images that a request names
            are embedded.
        team: whose images these are, for the log and the counts.
    """

    def __init__(
        self, segmenter: Segmenter, label_studio: LabelStudio | None, team: str = ""
    ) -> None:
        self._segmenter = segmenter
        self._label_studio = label_studio
        self._queue = JobQueue(_MAX_WAITING, _MAX_BYTES)
        self._team = team
        self._is_full = False  # logged once, until the queue has been empty again

    def start(self) -> None:
        """Begin to work, in threads of its own: as many as images make a batch."""
        metrics.WAITING.labels(self._team).set(0)
        for _ in range(self._segmenter.encode_batch):
            threading.Thread(target=self._work, name="prefetch", daemon=True).start()

    def tasks_opened(self, tasks: list[dict[str, Any]], config: LabelingConfig) -> None:
        """Embed the images of tasks.

        One task means that an annotator has opened it. Many tasks mean that somebody has asked for
        predictions of all of them.
        """
        if len(tasks) != 1:
            self._put_tasks(tasks, config, Priority.REST, Source.IMPORT)
            return
        (task,) = tasks
        self._put_tasks(tasks, config, Priority.OPENED, Source.ANNOTATOR)
        project_id, task_id = whole_number(task.get("project")), whole_number(task.get("id"))
        if project_id is not None and task_id is not None:
            self._put_look_ahead(project_id, task_id, Source.ANNOTATOR)

    def event(self, action: str, body: Mapping[str, Any]) -> None:
        """Take the hint of a webhook.

        Webhooks are not signed, so anybody can send one. A hint only says what to ask the API for.
        """
        project = body.get("project")
        project_id = whole_number(project.get("id")) if isinstance(project, dict) else None
        if project_id is None:
            return
        if action == "ANNOTATION_CREATED":
            annotation = body.get("annotation")
            task_id = whole_number(annotation.get("task")) if isinstance(annotation, dict) else None
            if task_id is not None:
                self._put_look_ahead(project_id, task_id, Source.HINT)
            return
        task_ids = _ids(body.get("tasks"))
        if not task_ids:
            return
        if action == "TASKS_CREATED":
            run = partial(self._look_up, project_id, task_ids)
            self._put(("created", project_id, task_ids), run, Priority.REST, Source.HINT)
        elif action == "TASKS_DELETED":
            run = partial(self._forget, task_ids)
            self._put(("deleted", task_ids), run, Priority.REST, Source.HINT)

    def wait_until_empty(self) -> None:
        """Wait until every job that has been put into the queue is done."""
        self._queue.wait_until_empty()

    def _put_tasks(
        self,
        tasks: Iterable[Mapping[str, Any]],
        config: LabelingConfig,
        priority: Priority,
        source: Source,
    ) -> None:
        """Put the images of tasks into the queue, until it is full."""
        for task in tasks:
            refs = config.image_refs(task)
            try:
                for ref in itertools.islice(refs, _SHOWN_AT_ONCE):
                    if not self._put_image(ref, priority, source):
                        return
                for ref in refs:
                    if not self._put_image(ref, Priority.REST, Source.IMPORT):
                        return
            except TASK_ERRORS as error:
                self._note_failure(error)

    def _put_image(self, ref: ImageRef, priority: Priority, source: Source) -> bool:
        run = partial(self._embed, ref, priority)
        return self._put(ref, run, priority, source, len(ref.url))

    def _put_look_ahead(self, project_id: int, task_id: int, source: Source) -> None:
        run = partial(self._look_ahead, project_id, task_id, source)
        self._put(("after", project_id, task_id), run, Priority.NEXT, source)

    def _put(
        self,
        key: Hashable,
        run: Callable[[], None],
        priority: Priority,
        source: Source,
        nbytes: int = 0,
    ) -> bool:
        """Put a job into the queue. Returns False where there is no room for it."""
        if self._queue.put(Job(key, run, priority, source, nbytes)):
            metrics.WAITING.labels(self._team).set(len(self._queue))
            return True
        metrics.JOBS.labels("dropped").inc()
        if not self._is_full:
            logger.warning(
                "too many images wait to be embedded: %d jobs or %d MiB. The others are embedded"
                " when somebody clicks on them. To embed a whole project ahead, run"
                " python -m backend precompute --project ID%s",
                *(_MAX_WAITING, _MAX_BYTES >> 20, team_option(self._team)),
            )
        self._is_full = True
        return False

    def _work(self) -> None:
        request_context.note(team=self._team or None)
        while True:
            job = self._queue.take()
            waiting = len(self._queue)
            self._is_full = self._is_full and waiting > 0
            metrics.WAITING.labels(self._team).set(waiting)
            try:
                job.run()
                metrics.JOBS.labels("done").inc()
            except TASK_ERRORS as error:
                self._note_failure(error)
            except Exception:  # the thread must go on after an unforeseen error
                metrics.JOBS.labels("failed").inc()
                logger.exception("embedding ahead failed")
            finally:
                self._queue.done()

    @staticmethod
    def _note_failure(error: Exception) -> None:
        metrics.JOBS.labels("failed").inc()
        logger.warning("an image was not embedded ahead of its click: %s", error)

    def _embed(self, ref: ImageRef, priority: Priority) -> None:
        self._segmenter.embed(ref, priority=priority)

    def _look_ahead(self, project_id: int, task_id: int, source: Source) -> None:
        """Embed the tasks after a task."""
        if self._label_studio is not None:
            tasks = self._label_studio.tasks_after(project_id, task_id, _LOOK_AHEAD)
            config = self._config(self._label_studio, project_id)
            self._put_tasks(tasks, config, Priority.NEXT, source)

    def _look_up(self, project_id: int, task_ids: tuple[int, ...]) -> None:
        """Embed tasks that a hint calls new, if the API knows them."""
        if self._label_studio is None:
            return
        tasks = self._label_studio.tasks_after(project_id, min(task_ids) - 1, len(task_ids))
        wanted = set(task_ids)
        created = [task for task in tasks if task["id"] in wanted]
        config = self._config(self._label_studio, project_id)
        self._put_tasks(created, config, Priority.REST, Source.HINT)

    @staticmethod
    def _config(label_studio: LabelStudio, project_id: int) -> LabelingConfig:
        return LabelingConfig.parse(label_studio.project(project_id)["label_config"])

    def _forget(self, task_ids: tuple[int, ...]) -> None:
        """Remove the embeddings of tasks that a hint calls deleted, unless the API knows them."""
        if self._label_studio is None:
            return
        for task_id in task_ids:
            if not self._label_studio.has_task(task_id):
                self._segmenter.forget_task(task_id)


def _ids(tasks: Any) -> tuple[int, ...]:
    """The ids of the first tasks of a list."""
    if not isinstance(tasks, list):
        return ()
    ids = (whole_number(task.get("id")) for task in tasks if isinstance(task, dict))
    known = (task_id for task_id in ids if task_id is not None)
    return tuple(itertools.islice(known, _MAX_WAITING))
