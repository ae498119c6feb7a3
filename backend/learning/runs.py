"""What a run of the learner leaves behind: its lock, how far it is, its report."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
import redis.exceptions
from filelock import FileLock, Timeout

from backend.learning.errors import LearningError, RunningError
from backend.settings import Settings
from backend.teams import team_option
from model.files import write_atomically

logger = logging.getLogger(__name__)

_LEASE_S = 120.0  # Redis forgets the lock of a host that has died after this time
_RENEW_S = 30.0
_REDIS_TIMEOUT_S = 5.0
_PROGRESS, _REPORT, _LOCK = "progress.json", "report.json", "running.lock"


class LearningRuns:
    """The runs of all projects. Processes may share the folder, and hosts the Redis.

    Args:
        folder: holds a folder for each project.
        redis_url: the Redis that several hosts share, or None.
        team: keeps the projects of several Label Studios apart, whose numbers may be equal.
    """

    def __init__(self, folder: Path, redis_url: str | None, team: str = "") -> None:
        self._folder = folder / team
        self._machine_lock = folder / _LOCK
        self._team = team
        self._redis_url = redis_url
        self._prefix = ":".join(filter(None, ["mobile-sam:learning", team]))

    @classmethod
    def of(cls, settings: Settings) -> LearningRuns:
        """The runs of one Label Studio's projects."""
        return cls(settings.model_dir / "projects", settings.redis_url, settings.team)

    def folder(self, project_id: int) -> Path:
        """The folder of a project's runs."""
        return self._folder / str(project_id) / "learning"

    @contextmanager
    def hold(self, project_id: int) -> Iterator[None]:
        """Be the only run of a project and of this machine for the time of the block.

        Raises:
            RunningError: another run goes on.
            LearningError: Redis gives no answer.
            OSError: the folder cannot be written.
        """
        with self._hold_project(project_id), self._hold_machine():
            yield

    def is_running(self, project_id: int) -> bool:
        """Whether a run of a project goes on, here or on another host.

        Raises:
            LearningError: Redis gives no answer.
            OSError: the folder cannot be written.
        """
        try:
            with self._hold_project(project_id):
                return False
        except RunningError:
            return True

    def require_free_machine(self) -> None:
        """Check that no project learns on this machine.

        Raises:
            RunningError: a project does.
            OSError: the folder cannot be written.
        """
        with self._hold_machine():
            pass

    def note_progress(self, project_id: int, progress: Mapping[str, Any]) -> None:
        """Write how far the run is."""
        self._write(project_id, _PROGRESS, progress)

    def progress(self, project_id: int) -> dict[str, Any]:
        """How far the run is, or was when it was stopped; empty where there is none."""
        return self._read(project_id, _PROGRESS)

    def note_report(self, project_id: int, report: Mapping[str, Any]) -> None:
        """Write the report of a run that has ended."""
        self._write(project_id, _REPORT, report)
        (self.folder(project_id) / _PROGRESS).unlink(missing_ok=True)

    def report(self, project_id: int) -> dict[str, Any]:
        """The report of the last run that has ended; empty where there is none."""
        return self._read(project_id, _REPORT)

    @contextmanager
    def _hold_project(self, project_id: int) -> Iterator[None]:
        path = self.folder(project_id) / _LOCK
        with _hold_file(path, self._running(project_id)), self._hold_in_redis(project_id):
            yield

    @contextmanager
    def _hold_machine(self) -> Iterator[None]:
        sentence = "another project learns on this machine: try again when its run has ended"
        with _hold_file(self._machine_lock, RunningError(sentence)):
            yield

    @contextmanager
    def _hold_in_redis(self, project_id: int) -> Iterator[None]:
        if self._redis_url is None:
            yield
            return
        client = redis.Redis.from_url(
            self._redis_url,
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
        )
        lock = client.lock(f"{self._prefix}:{project_id}", timeout=_LEASE_S)
        try:
            is_held = lock.acquire(blocking=False)
        except redis.RedisError as error:
            raise LearningError(
                f"Redis gives no answer ({error}), so another host might learn at the same time:"
                " try again when Redis works"
            ) from error
        if not is_held:
            raise self._running(project_id)
        is_over = threading.Event()
        renewal = threading.Thread(target=_renew, args=(lock, is_over), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            is_over.set()
            renewal.join()
            with suppress(redis.RedisError, redis.exceptions.LockError):
                lock.release()

    def _running(self, project_id: int) -> RunningError:
        return RunningError(
            f"a run of project {project_id} goes on: python -m backend learn --project {project_id}"
            f"{team_option(self._team)} --status says how far it is"
        )

    def _write(self, project_id: int, name: str, content: Mapping[str, Any]) -> None:
        with write_atomically(self.folder(project_id) / name, mode=0o644) as file:
            file.write(json.dumps(content, indent=1).encode())

    def _read(self, project_id: int, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder(project_id) / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


@contextmanager
def _hold_file(path: Path, is_held: RunningError) -> Iterator[None]:
    """Hold a lock of this machine's processes, or raise the error where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise is_held from None
    try:
        yield
    finally:
        lock.release()


def _renew(lock: redis.lock.Lock, is_over: threading.Event) -> None:
    """Keep a lock in Redis until the run is over."""
    while not is_over.wait(_RENEW_S):
        try:
            lock.reacquire()
        except (redis.RedisError, redis.exceptions.LockError) as error:
            logger.warning("the lock of the run in Redis was not renewed: %s", error)
