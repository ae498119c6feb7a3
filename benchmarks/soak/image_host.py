"""Serves the pictures on loopback; slow, or lying, when a fault says so."""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

_SLOW_S = 3.0


class ImageHost:
    """A server of a folder.

    Attributes:
        mood: ``well``, ``slow`` (every answer takes 3 s) or ``lying`` (half of the answers are an
            error, a web page, another picture or cut off).
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.mood = "well"
        self._rng = random.Random(f"{seed}-lies")
        host = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if host.mood == "slow":
                    time.sleep(_SLOW_S)
                if host.mood == "lying" and host._rng.random() < 0.5:
                    host._lie(self)
                else:
                    super().do_GET()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ImageHost:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _lie(self, request: SimpleHTTPRequestHandler) -> None:
        kind = self._rng.randrange(4)
        if kind == 0:
            request.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        content = _another_picture() if kind == 1 else b"<html>please sign in</html>"
        length = 10_000 if kind == 2 else len(content)  # cut off
        request.send_response(HTTPStatus.OK)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(content)
        request.close_connection = True


def _another_picture() -> bytes:
    content = BytesIO()
    Image.new("RGB", (20, 10)).save(content, "PNG")
    return content.getvalue()
