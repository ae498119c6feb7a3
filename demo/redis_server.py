"""A Redis as a child process."""

from __future__ import annotations

import shutil
from pathlib import Path

import redis

from demo.process import ServerProcess, free_port


class RedisServer(ServerProcess):
    """A Redis on loopback that keeps nothing on disk.

    Args:
        folder: where it runs and logs.

    Attributes:
        url: for REDIS_URL.

    Raises:
        FileNotFoundError: redis-server is not installed.
    """

    def __init__(self, folder: Path) -> None:
        executable = shutil.which("redis-server")
        if executable is None:
            raise FileNotFoundError("redis-server is not installed")
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            [executable, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder],
            folder / "redis.log",
            {},
            folder,
            timeout_s=30,
        )

    def is_ready(self) -> bool:
        """Whether it answers."""
        client = redis.Redis.from_url(self.url)
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
        finally:
            client.close()
