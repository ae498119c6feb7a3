"""Starts the learner when Label Studio asks for it: *Start training*, or enough new annotations.

Label Studio's button sends START_TRAINING with the backend's password. Its webhooks send no
password. So where the backend has a password, START_TRAINING counts only with the password. Without
a password anybody may send anything: the project has to exist in the API, one project is asked for
once a minute, and the learner ends at once where there are no new annotations.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cachetools
import redis
from redis import Redis
from rq import Queue, Worker

from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.learning import process
from backend.learning.errors import LearningError
from backend.learning.runs import LearningRuns

logger = logging.getLogger(__name__)

QUEUE_NAME = "mobile-sam-learning"
_EVERY_S = 60.0  # between two looks at one project
_AT_ONCE = 2  # looks
_REMEMBERED = 1000  # projects
_JOB_TIMEOUT_S = 24 * 3600
_ARGUMENTS = ("--if-changed",)
_NEW_ANNOTATION = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")

Start = Callable[[int], None]


class LearningStarts:
    """Takes events of webhooks. :meth:`event` returns at once and never raises.

    Args:
        label_studio: knows the projects.
        runs: knows which run goes on, and what the last run knew.
        start: starts the learner for a project.
        every: a run starts after so many new annotations; 0: only when somebody asks.
        needs_password: whether the backend has a password.
    """

    def __init__(
        self,
        label_studio: LabelStudio,
        runs: LearningRuns,
        start: Start,
        every: int,
        *,
        needs_password: bool,
    ) -> None:
        self._label_studio = label_studio
        self._runs = runs
        self._start = start
        self._every = every
        self._needs_password = needs_password
        self._lock = threading.Lock()
        self._looked: cachetools.TTLCache[tuple[int, bool], bool] = cachetools.TTLCache(
            _REMEMBERED, _EVERY_S, time.monotonic
        )
        # A run that learnt nothing leaves no report. It is not repeated at every annotation.
        self._tried: cachetools.LRUCache[int, int] = cachetools.LRUCache(_REMEMBERED)
        self._seats = threading.BoundedSemaphore(_AT_ONCE)

    def event(self, action: str, project_id: int | None, *, has_password: bool) -> None:
        """Take an event.

        Args:
            action: its name.
            project_id: the project that it is of, or None where it names no project.
            has_password: whether the caller sent the backend's password.
        """
        is_asked = action == "START_TRAINING"
        if project_id is None or not (is_asked or (self._every and action in _NEW_ANNOTATION)):
            return
        if is_asked and self._needs_password and not has_password:
            logger.info("START_TRAINING without the password is ignored")
            return
        with self._lock:
            if (project_id, is_asked) in self._looked or not self._seats.acquire(blocking=False):
                return
            self._looked[project_id, is_asked] = True
        look = partial(self._look, project_id, is_asked=is_asked)
        threading.Thread(target=look, name="learning", daemon=True).start()

    def _look(self, project_id: int, *, is_asked: bool) -> None:
        """Ask the API for the project, and start the learner where that is wanted."""
        try:
            project = self._label_studio.project(project_id)
            if self._runs.is_running(project_id):
                logger.info("project %d learns already", project_id)
            elif is_asked or self._has_enough_new(project_id, project):
                logger.info("project %d begins to learn", project_id)
                self._tried[project_id] = _annotations(project)
                self._start(project_id)
        except (LabelStudioError, LearningError, OSError, redis.RedisError) as error:
            logger.error("project %d cannot learn: %s", project_id, error)
        finally:
            self._seats.release()

    def _has_enough_new(self, project_id: int, project: Mapping[str, Any]) -> bool:
        known = self._runs.report(project_id).get("data", {}).get("annotations") or 0
        return _annotations(project) - max(known, self._tried.get(project_id, 0)) >= self._every


def _annotations(project: Mapping[str, Any]) -> int:
    """How many annotations a project has, as the API says."""
    return project.get("total_annotations_number") or 0


def starter(runs: LearningRuns, redis_url: str | None, team: str = "") -> Start:
    """How the learner is started: on an RQ worker where there is one, else on this machine.

    Args:
        runs: know the folders of the projects.
        redis_url: the Redis of the workers, or None.
        team: whose projects learn, where several Label Studios use this backend.
    """

    def start(project_id: int) -> None:
        if redis_url is not None and _enqueue(redis_url, project_id, team):
            return
        process.run_in_background(project_id, runs.folder(project_id), _ARGUMENTS, team)

    return start


def _enqueue(redis_url: str, project_id: int, team: str) -> bool:
    """Queue a run, unless one waits. Returns False where no worker listens to the queue."""
    queue = Queue(QUEUE_NAME, connection=Redis.from_url(redis_url))
    if not Worker.count(queue=queue):
        return False
    job_id = "-".join(filter(None, ["learn", team, str(project_id)]))
    if job_id not in queue.get_job_ids():
        queue.enqueue(learn_job, project_id, team, job_id=job_id, job_timeout=_JOB_TIMEOUT_S)
    return True


def learn_job(project_id: int, team: str) -> int:
    """Run the learner on an RQ worker. Returns its exit status."""
    return process.run(project_id, _ARGUMENTS, team)
