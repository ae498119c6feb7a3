"""Work on RQ workers: any number of processes on any number of machines share a Redis."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from rq import Queue
from rq.job import Job, JobStatus

from backend.service import Services
from backend.settings import Settings

QUEUE_NAME = "mobile-sam"
FAILED = "their job failed: the worker's log says why"
_ITEMS_A_JOB = 50  # an RQ worker loads the model for each job
_TIMEOUT_S = 3600
_JOBS_AHEAD = 200
_POLL_S = 0.5

T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """A job that has ended.

    Attributes:
        count: how many items the job had.
        result: what the function returned; None where the job failed.
    """

    count: int
    result: Any


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Items in lists, each for one job."""
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, _ITEMS_A_JOB)):
        yield batch


def run(
    settings: Settings,
    function: Callable[..., Any],
    lists: Iterable[list[T]],
    *arguments: Any,
) -> Iterator[Done]:
    """Let RQ workers call a function with each list. Gives the jobs as they end.

    Args:
        settings: the Redis of the queue, and the team whose work it is.
        function: of a module. Its first argument is the service of the team in the RQ worker. Its
            result is never None.
        lists: the second argument of each call.
        arguments: the further arguments of each call.

    Raises:
        ValueError: Redis gives no answer.
    """
    try:
        yield from _run(settings, function, lists, *arguments)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise ValueError(f"Redis gives no answer ({error}): is REDIS_URL right?") from error


def _run(
    settings: Settings,
    function: Callable[..., Any],
    lists: Iterable[list[T]],
    *arguments: Any,
) -> Iterator[Done]:
    assert settings.redis_url is not None
    queue = Queue(QUEUE_NAME, connection=redis.Redis.from_url(settings.redis_url))
    remaining = iter(lists)
    running: list[tuple[Job, int]] = []
    while True:
        # Only as many jobs as workers need: a million items would fill Redis.
        for items in itertools.islice(remaining, _JOBS_AHEAD - len(running)):
            called = (settings.team, function, items, *arguments)
            job = queue.enqueue(work, *called, job_timeout=_TIMEOUT_S)
            running.append((job, len(items)))
        if not running:
            return
        unfinished = []
        for job, count in running:
            if _has_ended(job):
                result = job.return_value() if job.get_status() == JobStatus.FINISHED else None
                yield Done(count, result)
            else:
                unfinished.append((job, count))
        if len(unfinished) == len(running):
            time.sleep(_POLL_S)
        running = unfinished


def work(team: str, function: Callable[..., Any], items: list[Any], *arguments: Any) -> Any:
    """Call a function on an RQ worker, with the service of a team.

    Raises:
        ValueError: the worker has other settings than the backend.
    """
    service = _services().by_team.get(team)
    if service is None:
        raise ValueError(
            f"this worker has no team {team!r}: start it with the settings of the backend"
        )
    return function(service, items, *arguments)


@functools.cache
def _services() -> Services:
    return Services.start(Settings.from_env())


def _has_ended(job: Job) -> bool:
    ended = (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED, None)
    return job.get_status() in ended
