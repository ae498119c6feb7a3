"""A fresh installation: its size, and the time from the first command to the first mask.

It is the Docker image's installation, laid out without Docker. Packages come from pip's cache where
pip has them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import container
from demo.process import WebServerProcess, free_port


class LaidOut(WebServerProcess):
    """The backend of an image that ``container.lay_out`` has laid out in a folder.

    Args:
        folder: the folder.
        log_path: where its log goes.
        prefix: the beginning of the command, such as :func:`container.as_user`.
        settings: environment variables of README.md.
    """

    def __init__(
        self, folder: Path, log_path: Path, prefix: Sequence[str] = (), **settings: str
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            [*prefix, folder / "venv" / "bin" / "python", "-m", "gunicorn", "_wsgi:app"],
            log_path,
            {"HOST": "127.0.0.1", "PORT": str(port), **settings},
            folder / "app",
            timeout_s=180,
        )


@dataclass(frozen=True)
class Installation:
    """The measurements of one installation.

    Attributes:
        environment_mb: all files of the environment, MB. Weights and this project's code are not
            in it.
        install_s: until everything is installed.
        first_mask_s: the same, and until the backend has started and answered the first click.
    """

    environment_mb: float
    install_s: float
    first_mask_s: float


def measure(checkpoint: Path, images: str, click: Callable[[str], None]) -> Installation:
    """Install, start and click once.

    Args:
        checkpoint: the weights. Nothing is downloaded.
        images: the URL of the server of images.
        click: asks the backend at a URL for a mask.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun = time.perf_counter()
        container.lay_out(folder)
        installed = time.perf_counter()
        backend = LaidOut(
            folder,
            folder / "log",
            LABEL_STUDIO_URL=images,
            MOBILESAM_CHECKPOINT=str(checkpoint),
            MODEL_DIR=str(folder / "models"),
            CACHE_DIR=str(folder / "embeddings"),
        )
        try:
            click(backend.url)
            clicked = time.perf_counter()
        finally:
            backend.stop()
        environment_mb = container.size(folder / "venv") / 1e6
    return Installation(environment_mb, installed - begun, clicked - begun)
