"""The learnt decoders of projects in a Redis, for hosts that share no folder."""

from __future__ import annotations

import re
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.versions.activation import Activation
from model.decoder_file import LARGEST_FILE

_TIMEOUT_S = 2.0
_ACTIVATION = "active"
_NUMBER = re.compile(rb"[1-9][0-9]{0,8}")


class RedisVersions:
    """One hash for each project: the bytes of each version, and which of them serves.

    Redis may lose a hash. Every host puts back what its folder has.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: the first part of the names of the hashes.
    """

    def __init__(self, url: str, prefix: str) -> None:
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        self._client = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=retry
        )
        self._prefix = prefix

    def numbers(self, project_id: int) -> list[int]:
        """The versions of a project, in their order.

        Raises:
            redis.RedisError: Redis gives no answer. So do the other methods.
        """
        fields: Any = self._client.hkeys(self._name(project_id))
        return sorted(int(field) for field in fields if _NUMBER.fullmatch(field))

    def read(self, project_id: int, number: int) -> bytes | None:
        """The bytes of a version, or None where Redis has none, or more than a file may have."""
        name = self._name(project_id)
        length: Any = self._client.hstrlen(name, str(number))
        if length > LARGEST_FILE:
            return None
        data: Any = self._client.hget(name, str(number))
        return data if isinstance(data, bytes) else None

    def claim(self, project_id: int, number: int, data: bytes) -> bool:
        """Put the bytes of a version, unless Redis has this version. Returns whether they are put.

        Two hosts that add a version at the same time get different numbers in this way.
        """
        return bool(self._client.hsetnx(self._name(project_id), str(number), data))

    def activation(self, project_id: int) -> Activation:
        """Which version serves a project. A damaged entry counts as none."""
        data: Any = self._client.hget(self._name(project_id), _ACTIVATION)
        return _activation(data)

    def set_activation(self, project_id: int, activation: Activation) -> Activation:
        """Note which version serves a project, unless Redis knows of a newer change.

        Returns:
            What Redis has afterwards.
        """
        name = self._name(project_id)
        with self._client.pipeline() as pipeline:
            while True:
                try:
                    pipeline.watch(name)  # type: ignore[no-untyped-call]
                    data: Any = pipeline.hget(name, _ACTIVATION)
                    known = _activation(data)
                    if known.sequence >= activation.sequence:
                        return known
                    pipeline.multi()
                    pipeline.hset(name, _ACTIVATION, activation.dumps())
                    pipeline.execute()
                    return activation
                except redis.WatchError:
                    continue

    def _name(self, project_id: int) -> str:
        return f"{self._prefix}:{project_id}"


def _activation(data: bytes | None) -> Activation:
    try:
        return Activation() if data is None else Activation.loads(data)
    except ValueError:
        return Activation()
