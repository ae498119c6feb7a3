"""Starts the learner when Label Studio asks for it: *Start training*, or enough new annotations.

Label Studio's button sends START_TRAINING with the backend's password. Its webhooks send no
password. So where the backend has a password, START_TRAINING counts only with the password.

Where the backend has no password, anybody may send anything. So the project has to exist in the
API, each project is asked for once a minute, and the learner is started only where the project has
more annotations than the last run knew, whether that run learnt or was refused.

One learner at a time runs on this machine. RQ workers take the runs of their queue one by one.
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

from backend import request_context
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.learning import process
from backend.learning.errors import LearningError, RunningError
from backend.learning.runs import LearningRuns

logger = logging.getLogger(__name__)

QUEUE_NAME = "mobile-sam-learning"
_EVERY_S = 60.0  # between two looks at one project
_REDIS_TIMEOUT_S = 5.0
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
        team: whose projects these are, for the log.
    """

    def __init__(
        self,
        label_studio: LabelStudio,
        runs: LearningRuns,
        start: Start,
        every: int,
        *,
        needs_password: bool,
        team: str = "",
    ) -> None:
        self._label_studio = label_studio
        self._runs = runs
        self._start = start
        self._every = every
        self._needs_password = needs_password
        self._team = team
        self._lock = threading.Lock()
        self._looked: cachetools.TTLCache[tuple[int, bool], bool] = cachetools.TTLCache(
            _REMEMBERED, _EVERY_S, time.monotonic
        )
        # A run that learnt nothing leaves no report. It is not repeated at every annotation.
        self._tried: cachetools.LRUCache[int, int] = cachetools.LRUCache(_REMEMBERED)
        # Of looks. Annotations, which anybody may report, take no seat from the button.
        self._seats = {is_asked: threading.BoundedSemaphore() for is_asked in (True, False)}

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
            if (project_id, is_asked) in self._looked:
                return
            if not self._seats[is_asked].acquire(blocking=False):
                logger.warning(
                    "%s of project %d is dropped: another project is looked at", action, project_id
                )
                return
            self._looked[project_id, is_asked] = True
        least = self._every
        if is_asked:
            least = 0 if has_password else 1
        look = partial(self._look, project_id, least, self._seats[is_asked])
        threading.Thread(target=look, name="learning", daemon=True).start()

    def _look(self, project_id: int, least: int, seat: threading.BoundedSemaphore) -> None:
        """Ask the API for the project, and start the learner where that is wanted."""
        request_context.note(team=self._team or None)
        try:
            project = self._label_studio.project(project_id)
            if self._runs.is_running(project_id):
                logger.info("project %d learns already", project_id)
            elif self._has_enough_new(project_id, project, least):
                logger.info("project %d begins to learn", project_id)
                self._begin(project_id, _annotations(project))
            elif least == 1:
                logger.info("project %d has no annotation that is new to its last run", project_id)
        except (LabelStudioError, LearningError, OSError, redis.RedisError) as error:
            logger.error("project %d cannot learn: %s", project_id, error)
        finally:
            seat.release()

    def _begin(self, project_id: int, annotations: int) -> None:
        before = self._tried.get(project_id, 0)
        self._tried[project_id] = annotations
        try:
            self._start(project_id)
        except RunningError:
            self._tried[project_id] = before  # the next request may find the machine free
            raise

    def _has_enough_new(self, project_id: int, project: Mapping[str, Any], least: int) -> bool:
        """Whether so many annotations are new to the last run, also if that run was refused."""
        reported = self._runs.report(project_id).get("data", {})
        progress = self._runs.progress(project_id)
        known = max(
            reported.get("annotations") or 0,
            progress.get("annotations") or 0,
            self._tried.get(project_id, 0),
        )
        return least == 0 or _annotations(project) - known >= least


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
        runs.require_free_machine()
        process.run_in_background(project_id, runs.folder(project_id), _ARGUMENTS, team)

    return start


def _enqueue(redis_url: str, project_id: int, team: str) -> bool:
    """Queue a run, unless one waits. Returns False where no worker listens to the queue."""
    connection = Redis.from_url(
        redis_url, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S
    )
    from rq import Queue, Worker  # here, since most servers never need rq

    queue = Queue(QUEUE_NAME, connection=connection)
    if not Worker.count(queue=queue):
        return False
    job_id = "-".join(filter(None, ["learn", team, str(project_id)]))
    if job_id not in queue.get_job_ids():
        queue.enqueue(learn_job, project_id, team, job_id=job_id, job_timeout=_JOB_TIMEOUT_S)
    return True


def learn_job(project_id: int, team: str) -> int:
    """Run the learner on an RQ worker. Returns its exit status."""
    return process.run(project_id, _ARGUMENTS, team)
