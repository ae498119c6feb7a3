"""Jobs that wait for the prefetch thread. The queue is bounded in number and in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum

from backend.embeddings.priority import Priority


class Source(IntEnum):
    """Who asked for a job. Each source has room of its own, so no source takes that of another."""

    ANNOTATOR = 0  # an annotator has opened a task
    HINT = 1  # a webhook, which anybody may send
    IMPORT = 2  # many tasks at once


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        key: names the work. Two jobs with the same key are the same work.
        run: does the work.
        priority: jobs of a smaller priority are done first.
        source: within a priority, jobs of a smaller source are done first.
        nbytes: how much memory the job takes while it waits, in bytes.
    """

    key: Hashable
    run: Callable[[], None]
    priority: Priority
    source: Source
    nbytes: int = 0

    @property
    def rank(self) -> tuple[Priority, Source]:
        """Jobs of a smaller rank are done first."""
        return self.priority, self.source


class JobQueue:
    """Jobs by rank; first in, first out within a rank. Threads may share a queue.

    Args:
        max_jobs: how many jobs of each source may wait.
        max_bytes: how many bytes the jobs of each source may take together.
    """

    def __init__(self, max_jobs: int, max_bytes: int) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._jobs: dict[Hashable, Job] = {}
        self._changed = threading.Condition()
        self._running = 0

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._jobs)

    def put(self, job: Job) -> bool:
        """Let a job wait. A job that waits already moves forward if the new rank is smaller.

        Returns:
            Whether the job waits now. False: there is no room for the jobs of its source.
        """
        with self._changed:
            waiting = self._jobs.get(job.key)
            if waiting is not None and waiting.rank <= job.rank:
                return True
            if not self._has_room(job):
                return waiting is not None
            self._jobs.pop(job.key, None)
            self._jobs[job.key] = job
            self._changed.notify_all()
            return True

    def take(self) -> Job:
        """Wait for a job and take the first. :meth:`done` must follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs)
            # Dictionaries keep the order of insertion, and min() takes the first of equals.
            job = min(self._jobs.values(), key=lambda job: job.rank)
            del self._jobs[job.key]
            self._running += 1
            return job

    def done(self) -> None:
        """Note that a job that was taken is done."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def wait_until_empty(self) -> None:
        """Wait until no job waits and every job that was taken is done."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs and not self._running)

    def _has_room(self, job: Job) -> bool:
        beside = [other for other in self._jobs.values() if other.source is job.source]
        used = sum(other.nbytes for other in beside)
        return len(beside) < self._max_jobs and used + job.nbytes <= self._max_bytes
