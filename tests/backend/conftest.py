"""A real backend: gunicorn in processes of its own, images served on loopback."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from demo.backend import Backend as Server
from model.weights import BUILTIN_PATH

ROOT = Path(__file__).parents[2]
REQUESTS = ROOT / "tests" / "data" / "requests"


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves folders on loopback until the end of the tests. Returns their URLs."""

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
    """The URL of a loopback server with the images of the recorded requests."""
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
    """Reads a recorded request. Its images are on ``image_host``."""

    def read(name: str) -> dict:
        text = (REQUESTS / f"{name}.json").read_text()
        return json.loads(text.replace("http://127.0.0.1:8899", image_host))

    return read


class Backend(Server):
    """A running backend with a client, and what its /metrics say."""

    def __init__(self, log_path: Path, **settings: str) -> None:
        self.settings = settings
        self.client = httpx.Client(timeout=60)
        super().__init__(
            log_path,
            **{
                "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
                "CACHE_DIR": str(log_path.parent / "cache"),
                "ALLOWED_HOSTS": "127.0.0.1",
                **settings,
            },
        )
        self.client.base_url = self.url

    def stop(self) -> None:
        self.client.close()
        super().stop()

    def count(self, name: str) -> float:
        """The sum of a counter of /metrics over all labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def wait_for(self, name: str, count: float) -> None:
        """Wait until a counter of /metrics has reached ``count``."""
        deadline = time.monotonic() + 60
        while self.count(name) < count:
            assert time.monotonic() < deadline, f"{name} is {self.count(name)}:\n{self.log[-2000:]}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def start_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Backend]]:
    """Starts backends with settings, and stops them at the end of the module: each has 250 MB."""
    started: list[Backend] = []

    def start(**settings: str) -> Backend:
        started.append(Backend(tmp_path_factory.mktemp("backend") / "log", **settings))
        return started[-1]

    yield start
    for backend in started:
        backend.stop()


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory, image_host: str) -> Iterator[Backend]:
    """A backend with 2 workers of 4 threads. Its Label Studio is ``image_host``."""
    log_path = tmp_path_factory.mktemp("backend") / "log"
    started = Backend(log_path, LABEL_STUDIO_URL=image_host, WORKERS="2", THREADS="4")
    yield started
    started.stop()


CLICK_CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image" model_crop_refinement="false">'
    '<Label value="Object"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/>'
    "</KeyPointLabels></View>"
)


@pytest.fixture(scope="session")
def click_at() -> Callable[[str], dict]:
    """The body of a click on the middle of an image of 320 x 240 at a URL."""

    def make(url: str) -> dict:
        region = {
            "type": "keypointlabels",
            "from_name": "point",
            "to_name": "image",
            "original_width": 320,
            "original_height": 240,
            "is_positive": True,
            "value": {"x": 50, "y": 50, "width": 1, "keypointlabels": ["Object"]},
        }
        return {
            "tasks": [{"id": 1, "data": {"image": url}}],
            "label_config": CLICK_CONFIG,
            "params": {"context": {"result": [region]}},
        }

    return make


@pytest.fixture(scope="session")
def rle_of() -> Callable[[httpx.Response], list[int]]:
    """The brush RLE in an answer to a click; empty where there is no mask."""

    def read(response: httpx.Response) -> list[int]:
        assert response.status_code == 200, response.text
        (prediction,) = response.json()["results"]
        return prediction["result"][0]["value"]["rle"] if prediction["result"] else []

    return read


@pytest.fixture(scope="session")
def square() -> Callable[..., Image.Image]:
    """A picture of 320 x 240: a red rectangle on grey, which begins at column ``left``."""

    def draw(left: int = 100) -> Image.Image:
        picture = Image.new("RGB", (320, 240), (120, 120, 120))
        picture.paste((210, 50, 40), (left, 60, 220, 180))
        return picture

    return draw
