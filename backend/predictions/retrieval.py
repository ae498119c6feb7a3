"""Masks for requests in which nobody has clicked, where the labeling config asks for masks.

Label Studio sends such a request when somebody retrieves predictions for many tasks, and when an
annotator opens a task without predictions. It waits 100 s for the answer. Tasks that are not ready
in time are finished in the background, and their predictions are written through the API.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from typing import Any

from backend import metrics, request_context
from backend.embeddings.job_queue import Job, JobQueue, Source
from backend.embeddings.priority import Priority, yield_to_other_threads
from backend.embeddings.segmenter import Segmenter
from backend.label_studio.client import LabelStudio
from backend.predictions.boxes import EITHER
from backend.predictions.errors import TASK_ERRORS
from backend.predictions.orders import Order, Task
from backend.predictions.preannotator import Outcome, Preannotator
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig, whole_number
from backend.teams import team_option
from model.everything import EverythingSettings

logger = logging.getLogger(__name__)

_MANY_TASKS_S = 60.0  # Label Studio needs time to write the answer
_ONE_TASK_S = 4.0  # an annotator may be waiting for the page
_THREADS = 4  # images are loaded while another image is encoded
_TASKS_A_JOB = 50
_MAX_JOBS = 1000
_MOST_ANSWERED = 200  # tasks: an answer of many masks has hundreds of megabytes
Prediction = dict[str, Any]


class Retrieval:
    """Answers requests in which nobody has clicked. Threads may share a retrieval.

    Nothing is written before :meth:`start`.

    Args:
        segmenter_of: gives the segmenter of a project, or of an unknown project (None).
        label_studio: where the predictions of late tasks are written. None: nowhere.
        many_tasks_s: how long an answer for several tasks may take, seconds.
        one_task_s: how long an answer for one task may take, seconds.
        team: whose tasks these are, for the log.
    """

    def __init__(
        self,
        segmenter_of: Callable[[int | None], Segmenter],
        label_studio: LabelStudio | None,
        many_tasks_s: float = _MANY_TASKS_S,
        one_task_s: float = _ONE_TASK_S,
        *,
        team: str = "",
    ) -> None:
        self._team = team
        self._segmenter_of = segmenter_of
        self._label_studio = label_studio
        self._many_tasks_s = many_tasks_s
        self._one_task_s = one_task_s
        # An annotator's task does not wait behind the tasks of a retrieval.
        self._of_annotators = self._pool("opened")
        self._of_many = self._pool("retrieval")
        self._late = JobQueue(_MAX_JOBS, max_bytes=0)
        self._late_ids: set[int] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to write the predictions of late tasks, in a thread of its own."""
        threading.Thread(target=self._work, name="late tasks", daemon=True).start()

    def answer(self, tasks: Sequence[Task], config: LabelingConfig) -> list[Any]:
        """The prediction of each task; an empty list where there is none, or not yet.

        Tasks that have such a prediction are passed over.
        """
        order = _order(config)
        answers: list[Any] = [[] for _ in tasks]
        if order is None or not tasks:
            return answers
        segmenter = self._segmenter_of(whole_number(tasks[0].get("project")))
        version = order.model_version(segmenter.model_version)
        is_one = len(tasks) == 1
        pool = self._of_annotators if is_one else self._of_many
        priority = Priority.OPENED if is_one else Priority.REST
        wanted = [i for i, task in enumerate(tasks) if not self._is_done(task, version)]
        futures: dict[Future[Prediction | None], int] = {
            pool.submit(
                # The log names the request and the team, as in the thread of the request.
                copy_context().run,
                _predict,
                segmenter,
                order,
                tasks[index],
                config,
                priority,
            ): index
            for index in wanted[:_MOST_ANSWERED]
        }
        ready, late = wait(futures, timeout=self._one_task_s if is_one else self._many_tasks_s)
        for future in ready:
            answers[futures[future]] = future.result() or []
        for future in late:
            future.cancel()
        unready = sorted(futures[future] for future in late) + wanted[_MOST_ANSWERED:]
        self._finish_later([tasks[index] for index in unready])
        return answers

    def wait_until_written(self) -> None:
        """Wait until no late task is left."""
        self._late.wait_until_empty()

    def _is_done(self, task: Task, version: str) -> bool:
        with self._lock:
            if whole_number(task.get("id")) in self._late_ids:
                return True
        found = task.get("predictions")
        kept = found if isinstance(found, list) else []
        return any(isinstance(one, dict) and one.get("model_version") == version for one in kept)

    def _finish_later(self, tasks: Sequence[Task]) -> None:
        """Leave tasks to the thread. It asks the API for them: anybody may send a request."""
        of_project: dict[int, list[int]] = {}
        for task in tasks:
            project_id, task_id = whole_number(task.get("project")), whole_number(task.get("id"))
            if project_id is not None and task_id is not None:
                of_project.setdefault(project_id, []).append(task_id)
        for project_id, ids in of_project.items():
            for begin in range(0, len(ids), _TASKS_A_JOB):
                self._put(project_id, ids[begin : begin + _TASKS_A_JOB])

    def _put(self, project_id: int, ids: list[int]) -> None:
        key = (project_id, tuple(ids))
        job = Job(key, partial(self._write, project_id, ids), Priority.REST, Source.IMPORT)
        with self._lock:
            self._late_ids.update(ids)
        if self._label_studio is None or not self._late.put(job):
            with self._lock:
                self._late_ids.difference_update(ids)
            metrics.PREANNOTATIONS.labels("dropped").inc(len(ids))
            logger.warning(
                "%d tasks of project %d got no masks in time: run python -m backend preannotate"
                " --project %d%s",
                *(len(ids), project_id, project_id),
                team_option(self._team),
            )

    def _work(self) -> None:
        request_context.note(team=self._team or None)
        yield_to_other_threads()
        while True:
            job = self._late.take()
            try:
                job.run()
            except TASK_ERRORS as error:
                logger.warning("the masks of late tasks were not written: %s", error)
            except Exception:  # the thread must go on after an unforeseen error
                logger.exception("the masks of late tasks were not written")
            finally:
                self._late.done()

    def _write(self, project_id: int, ids: Sequence[int]) -> None:
        """Make and write the predictions of late tasks, as the project itself asks for them."""
        assert self._label_studio is not None
        try:
            project = self._label_studio.project(project_id)
            order = _order(LabelingConfig.parse(project["label_config"]))
            if order is None:
                return
            segmenter = self._segmenter_of(project_id)
            weights = segmenter.model_version
            preannotator = Preannotator(self._label_studio, project_id, order, weights)
            for task in preannotator.tasks(preannotator.open_tasks(ids, removes_surplus=True)):
                _write_one(preannotator, segmenter, task)
        finally:
            with self._lock:
                self._late_ids.difference_update(ids)

    @staticmethod
    def _pool(name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, name, initializer=yield_to_other_threads)


def _predict(
    segmenter: Segmenter, order: Order, task: Task, config: LabelingConfig, priority: Priority
) -> Prediction | None:
    try:
        prediction = order.predict(segmenter, task, config, priority)
    except TASK_ERRORS as error:
        _note_failure(task.get("id"), error)
        return None
    if prediction is None or not prediction["result"]:
        return None
    metrics.PREANNOTATIONS.labels("answered").inc()
    return prediction


def _write_one(preannotator: Preannotator, segmenter: Segmenter, task: Task) -> None:
    try:
        outcome = preannotator.preannotate(segmenter, task)
    except TASK_ERRORS as error:
        _note_failure(task["id"], error)
        return
    if outcome is Outcome.WRITTEN:
        metrics.PREANNOTATIONS.labels("written").inc()


def _order(config: LabelingConfig) -> Order | None:
    """What the labeling config asks for; None where it asks for nothing."""
    try:
        wanted = config.preannotation()
    except UnanswerableRequestError as error:
        logger.error("nobody gets masks without a click: %s", error)
        return None
    if wanted is None:
        return None
    if wanted.everything:
        labels = (wanted.label,) if wanted.label else ()
        return Order(labels=labels, everything=EverythingSettings())
    return Order(EITHER)


def _note_failure(task_id: object, error: Exception) -> None:
    metrics.PREANNOTATIONS.labels("failed").inc()
    logger.warning("task %s got no masks: %s", task_id, error)
