"""A real backend: gunicorn in processes of its own, images served on loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
import redis
from PIL import Image
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from model.weights import BUILTIN_PATH

ROOT = Path(__file__).parents[2]
REQUESTS = ROOT / "tests" / "data" / "requests"


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves folders on loopback, until the end; gives their URLs."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def image_host(tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], str]) -> str:
    """The images that the recorded requests speak of, served on loopback; gives the URL."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)

    def picture(width: int, height: int) -> Image.Image:
        small = rng.integers(0, 255, (height // 100, width // 100, 3), dtype=np.uint8)
        return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)

    upload = folder / "data" / "upload" / "1"
    upload.mkdir(parents=True)
    picture(1200, 800).save(upload / "a244aff6-upload.png")
    picture(1000, 600).save(folder / "http.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1000, 600).save(folder / "exif6.jpg", exif=exif)

    return serve(folder)


@pytest.fixture(scope="session")
def recorded(image_host: str) -> Callable[[str], dict]:
    """Reads a recorded request; its images are those of ``image_host``."""

    def read(name: str) -> dict:
        text = (REQUESTS / f"{name}.json").read_text()
        return json.loads(text.replace("http://127.0.0.1:8899", image_host))

    return read


class Backend:
    """A running backend."""

    def __init__(self, log_path: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.log_path = log_path
        self.settings = environment
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "_wsgi:app"],
                cwd=ROOT,
                env={
                    **os.environ,  # noqa: TID251
                    "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
                    "HOST": "127.0.0.1",
                    "PORT": str(port),
                    "CACHE_DIR": str(log_path.parent / "cache"),
                    "ALLOWED_HOSTS": "127.0.0.1",
                    **environment,
                },
                stdout=log,
                stderr=log,
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                assert self.client.get("/health").status_code == 200
                return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"the backend did not start:\n{self.log}")

    def count(self, name: str) -> float:
        """A counter of /metrics, summed over its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def wait_for(self, name: str, count: float) -> None:
        """Until a counter of /metrics has reached ``count``."""
        deadline = time.monotonic() + 60
        while self.count(name) < count:
            assert time.monotonic() < deadline, f"{name} is {self.count(name)}:\n{self.log[-2000:]}"
            time.sleep(0.05)

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="session")
def start_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Backend]]:
    """Starts backends with settings; stops them at the end."""
    started: list[Backend] = []

    def start(**environment: str) -> Backend:
        log_path = tmp_path_factory.mktemp("backend") / "log"
        backend = Backend(log_path, **environment)
        started.append(backend)
        backend.wait()
        return backend

    yield start
    for backend in started:
        backend.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A Redis of its own: the process and the URL."""
    executable = shutil.which("redis-server")
    if executable is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [executable, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", tmp_path],
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200))
    client.ping()
    client.close()
    yield process, f"redis://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def backend(start_backend: Callable[..., Backend], image_host: str) -> Backend:
    """A backend with 2 workers of 4 threads that knows ``image_host`` as its Label Studio."""
    return start_backend(LABEL_STUDIO_URL=image_host, WORKERS="2", THREADS="4")
