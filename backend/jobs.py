"""Work on RQ workers: any number of processes on any number of machines share a Redis."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from backend.service import Service
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
    redis_url: str,
    function: Callable[..., Any],
    lists: Iterable[list[T]],
    *arguments: Any,
) -> Iterator[Done]:
    """Let RQ workers call a function with each list. Gives the jobs as they end.

    Args:
        redis_url: the Redis of the queue.
        function: of a module. Its result is never None.
        lists: the first argument of each call.
        arguments: the further arguments of each call.
    """
    queue = Queue(QUEUE_NAME, connection=Redis.from_url(redis_url))
    remaining = iter(lists)
    running: list[tuple[Job, int]] = []
    while True:
        # Only as many jobs as workers need: a million items would fill Redis.
        for items in itertools.islice(remaining, _JOBS_AHEAD - len(running)):
            job = queue.enqueue(function, items, *arguments, job_timeout=_TIMEOUT_S)
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


@functools.cache
def service() -> Service:
    """The service of an RQ worker."""
    return Service.start(Settings.from_env())


def _has_ended(job: Job) -> bool:
    ended = (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED, None)
    return job.get_status() in ended
