"""The backend as a child process."""

from __future__ import annotations

import sys
from pathlib import Path

from demo.process import ServerProcess, free_port

ROOT = Path(__file__).parents[1]


class Backend(ServerProcess):
    """The backend, as `make run` starts it, on loopback.

    Args:
        log_path: where its log goes.
        port: a port that is free.
        settings: environment variables of README.md.
    """

    def __init__(self, log_path: Path, port: int | None = None, **settings: str) -> None:
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            [sys.executable, "-m", "gunicorn", "_wsgi:app"],
            f"{self.url}/health",
            log_path,
            {"HOST": "127.0.0.1", "PORT": str(port), **settings},
            ROOT,
            timeout_s=180,
        )
