"""The versions of the decoders that projects have learnt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import redis

from backend.versions.activation import Activation, Version
from backend.versions.errors import VersionError
from backend.versions.redis_versions import RedisVersions
from backend.versions.version_files import VersionFiles
from model.checkpoint import Arrays
from model.decoder_file import DecoderRecord, LearntDecoder, pack, unpack

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 10.0  # a Redis that does not answer is not asked what is active for this long


class DecoderVersions:
    """The learnt decoders of projects, numbered from 1, and which of them serves.

    The files are ``folder/<project>/v<number>.safetensors``. Hosts that share the folder agree on
    the active version through the folder. With a Redis, hosts with other folders agree too: they
    fetch the files from Redis. Threads and processes may share the versions.

    Args:
        folder: holds the folders of the projects.
        redis_url: the Redis that several hosts share, or None.
        namespace: keeps the projects of several Label Studios apart, whose numbers may be equal.
            Letters, digits, dashes and underscores.
    """

    def __init__(self, folder: Path, redis_url: str | None = None, namespace: str = "") -> None:
        prefix = ":".join(filter(None, ["mobile-sam:decoders", namespace]))
        self._files = VersionFiles(folder / namespace)
        self._redis = RedisVersions(redis_url, prefix) if redis_url else None
        self._is_redis_well = True
        self._retry_at = 0.0

    def add(self, project_id: int, arrays: Arrays, record: DecoderRecord) -> int:
        """Keep a learnt decoder as the next version. It does not serve before it is activated.

        Args:
            project_id: the project that learnt it.
            arrays: the tensors of :func:`model.architecture.decoder_shapes`, all of them.
            record: where the tensors come from.

        Returns:
            The number of the version.

        Raises:
            OSError: the file cannot be written.
            VersionError: a tensor cannot be used, or Redis gives no answer.
        """
        try:
            data = pack(LearntDecoder(arrays, record))
        except ValueError as error:
            raise VersionError(f"the learnt decoder {error}") from error
        with self._files.locked(project_id):
            number = max(self.versions(project_id), default=0) + 1
            if self._redis is not None:
                try:
                    while not self._redis.claim(project_id, number, data):
                        number += 1
                except redis.RedisError as error:
                    raise _unreached(error) from error
            self._files.write(project_id, number, data)
        return number

    def projects(self) -> list[int]:
        """The projects that have a folder here."""
        return self._files.projects()

    def versions(self, project_id: int) -> list[int]:
        """The versions of a project, in their order."""
        numbers = set(self._files.numbers(project_id))
        if self._redis is not None:
            try:
                numbers |= set(self._redis.numbers(project_id))
            except redis.RedisError as error:
                self._note_failure(error)
        return sorted(numbers)

    def load(self, project_id: int, number: int) -> LearntDecoder:
        """Read a version. Where the folder lacks the file or has a damaged file, Redis is asked.

        Raises:
            VersionError: there is no such version, or it is damaged or foreign.
        """
        path = self._files.path(project_id, number)
        reason = "does not exist"
        try:
            data = self._files.read(project_id, number)
            if data is not None:
                return unpack(data)
        except ValueError as error:
            reason = str(error)
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
        fetched = self._fetched(project_id, number)
        if fetched is not None:
            return fetched
        raise VersionError(
            f"version {number} of project {project_id} cannot be used, since {path} {reason}:"
            " activate another version, or learn again"
        )

    def activate(self, project_id: int, number: int) -> None:
        """Let a version serve its project, in all workers of all hosts, from the next second on.

        Raises:
            OSError: the folder cannot be written.
            VersionError: the version cannot be used, or Redis gives no answer.
        """
        self.load(project_id, number)
        self._change(project_id, lambda activation: activation.activated(number))

    def rollback(self, project_id: int) -> Version:
        """Let the version serve that served before. Before the first is the base.

        Returns:
            The version that serves now; None is the base.

        Raises:
            OSError: the folder cannot be written.
            VersionError: Redis gives no answer.
        """
        return self._change(project_id, Activation.rolled_back).active

    def active(self, project_id: int) -> Version:
        """The version that serves a project; None is the base."""
        return self.activation(project_id).active

    def activation(self, project_id: int) -> Activation:
        """Which version serves a project, and which served before.

        Folder and Redis may differ after one of them was lost. The newer change counts, and is
        copied to the other place.
        """
        here = self._files.activation(project_id)
        if self._redis is None or time.monotonic() < self._retry_at:
            return here
        try:
            there = self._redis.activation(project_id)
            if here.sequence > there.sequence:
                self._publish(project_id, here)
        except redis.RedisError as error:
            self._note_failure(error)
            return here
        self._is_redis_well = True
        if there.sequence > here.sequence:
            self._copy_here(project_id, there)
            return there
        return here

    def _change(self, project_id: int, change: Callable[[Activation], Activation]) -> Activation:
        with self._files.locked(project_id):
            activation = self._files.activation(project_id)
            if self._redis is not None:
                try:
                    activation = self._change_in_redis(self._redis, project_id, activation, change)
                except redis.RedisError as error:
                    raise _unreached(error) from error
            else:
                activation = change(activation)
            self._files.set_activation(project_id, activation)
        return activation

    def _change_in_redis(
        self,
        shared: RedisVersions,
        project_id: int,
        here: Activation,
        change: Callable[[Activation], Activation],
    ) -> Activation:
        there = shared.activation(project_id)
        changed = change(max(here, there, key=lambda activation: activation.sequence))
        if self._publish(project_id, changed) != changed:
            raise VersionError(
                f"somebody else has activated a version of project {project_id} at the same time:"
                " look which one serves, and try again"
            )
        return changed

    def _publish(self, project_id: int, activation: Activation) -> Activation:
        """Let Redis have every version of this host. Returns which version serves afterwards.

        Files that no host could load are left out.
        """
        assert self._redis is not None
        known = set(self._redis.numbers(project_id))
        for number in set(self._files.numbers(project_id)) - known:
            try:
                data = self._files.read(project_id, number)
                if data is None:
                    continue
                unpack(data)
            except (OSError, ValueError):
                continue
            self._redis.claim(project_id, number, data)
        return self._redis.set_activation(project_id, activation)

    def _copy_here(self, project_id: int, activation: Activation) -> None:
        try:
            with self._files.locked(project_id):
                if self._files.activation(project_id).sequence < activation.sequence:
                    self._files.set_activation(project_id, activation)
        except (OSError, VersionError) as error:
            logger.debug("the activation of project %d is not kept here: %s", project_id, error)

    def _fetched(self, project_id: int, number: int) -> LearntDecoder | None:
        """The version as Redis has it. It is kept in the folder."""
        if self._redis is None:
            return None
        try:
            data = self._redis.read(project_id, number)
        except redis.RedisError as error:
            self._note_failure(error)
            return None
        try:
            decoder = None if data is None else unpack(data)
        except ValueError as error:
            logger.warning(
                "version %d of project %d in Redis %s: it is not used", number, project_id, error
            )
            return None
        if data is not None:
            try:
                self._files.write(project_id, number, data)
            except OSError as error:
                logger.debug("version %d of project %d is not kept: %s", number, project_id, error)
        return decoder

    def _note_failure(self, error: redis.RedisError) -> None:
        self._retry_at = time.monotonic() + _RETRY_AFTER_S
        if self._is_redis_well:
            self._is_redis_well = False
            logger.error(
                "Redis cannot be asked which learnt decoders are active, the last known ones serve:"
                " %s",
                error,
            )


def _unreached(error: redis.RedisError) -> VersionError:
    return VersionError(
        f"Redis gives no answer ({error}), so other hosts would not learn of the change: nothing is"
        " changed, try again when Redis works"
    )
