"""The backend as a child process."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from demo.process import WebServerProcess

ROOT = Path(__file__).parents[1]


class Backend(WebServerProcess):
    """The backend, as `make run` starts it, on loopback.

    Its socket is opened here and handed over, so the port cannot be taken in between.

    Args:
        log_path: where its log goes.
        preferred_port: the port to listen on, if it is free.
        settings: environment variables of README.md.
    """

    def __init__(self, log_path: Path, preferred_port: int = 0, **settings: str) -> None:
        with _listener(preferred_port) as listener:
            port = listener.getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            super().__init__(
                [
                    *(sys.executable, "-m", "gunicorn", "_wsgi:app"),
                    *("--bind", f"fd://{listener.fileno()}"),
                ],
                log_path,
                {"HOST": "127.0.0.1", "PORT": str(port), **settings},
                ROOT,
                timeout_s=180,
                pass_fds=[listener.fileno()],
            )


def _listener(preferred_port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", preferred_port))
    except OSError:  # the preferred port is taken
        return socket.create_server(("127.0.0.1", 0))
