"""What goes wrong during the run: each fault has a beginning and an end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.soak.image_host import ImageHost
from demo.backend import Backend
from demo.redis_server import RedisServer


@dataclass(frozen=True)
class Happened:
    """A fault that happened: its name, and the seconds of the run at which it began and ended."""

    name: str
    begun_s: float
    ended_s: float


class Faults:
    """The faults of one run.

    Args:
        backend: its workers are killed and frozen.
        redis: is killed, started again and frozen.
        images: is slow or lies.
        cache: the folder of the embeddings. It is filled and its entries are damaged.
        can_fill: whether the folder is a file system of its own, which may be filled.
    """

    def __init__(
        self, backend: Backend, redis: RedisServer, images: ImageHost, cache: Path, can_fill: bool
    ) -> None:
        self._backend = backend
        self._redis = redis
        self._images = images
        self._cache = cache
        self.all: dict[str, Callable[[random.Random, float], None]] = {
            "worker killed": self._kill_worker,
            "worker frozen": self._freeze_worker,
            "Redis killed": self._kill_redis,
            "Redis frozen": self._freeze_redis,
            "image host slow": self._slow_host,
            "image host lying": self._lying_host,
            "entries damaged": self._damage_entries,
            "storm of webhooks": self._send_hints,
        }
        if can_fill:
            self.all["disk full"] = self._fill_disk

    def workers(self) -> list[psutil.Process]:
        """The worker processes of the backend."""
        workers: list[psutil.Process] = psutil.Process(self._backend.process.pid).children()
        return workers

    def _kill_worker(self, rng: random.Random, seconds: float) -> None:
        rng.choice(self.workers()).kill()
        time.sleep(seconds)  # another worker starts

    def _freeze_worker(self, rng: random.Random, seconds: float) -> None:
        with _frozen(rng.choice(self.workers()).pid):
            time.sleep(seconds)

    def _kill_redis(self, rng: random.Random, seconds: float) -> None:
        command = self._redis.process.args
        self._redis.process.kill()
        self._redis.process.wait()
        time.sleep(seconds)
        self._redis.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def _freeze_redis(self, rng: random.Random, seconds: float) -> None:
        with _frozen(self._redis.process.pid):
            time.sleep(seconds)

    def _slow_host(self, rng: random.Random, seconds: float) -> None:
        self._be("slow", seconds)

    def _lying_host(self, rng: random.Random, seconds: float) -> None:
        self._be("lying", seconds)

    def _be(self, mood: str, seconds: float) -> None:
        self._images.mood = mood
        try:
            time.sleep(seconds)
        finally:
            self._images.mood = "well"

    def _damage_entries(self, rng: random.Random, seconds: float) -> None:
        """Overwrite half of the entries, and drop the memory of a worker: it must read them."""
        for path in sorted(self._cache.glob("??/*.safetensors")):
            with suppress(OSError):
                kind = rng.randrange(6)
                if kind == 0:
                    path.write_bytes(rng.randbytes(path.stat().st_size))
                elif kind == 1:
                    os.truncate(path, path.stat().st_size // 2)
                elif kind == 2:
                    path.unlink()
                    os.mkfifo(path)
        self._kill_worker(rng, seconds)

    def _send_hints(self, rng: random.Random, seconds: float) -> None:
        hint = {"action": "ANNOTATION_CREATED", "project": {"id": 1}}
        end = time.monotonic() + seconds
        with httpx.Client(base_url=self._backend.url, timeout=5) as client:
            while time.monotonic() < end:
                body = {**hint, "annotation": {"task": rng.randrange(1 << 30)}}
                with suppress(httpx.HTTPError):
                    client.post("/webhook", json=body)

    def _fill_disk(self, rng: random.Random, seconds: float) -> None:
        filler = self._cache / "filler"
        try:
            with suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            time.sleep(seconds)
        finally:
            filler.unlink(missing_ok=True)


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
