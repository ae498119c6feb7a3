"""Fixtures of all tests, their home folder, and which tests are slow."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

# The default folders of the settings are below the home folder. The user's own home folder is not
# for tests. The variable is set before any import that reads it.
_home = tempfile.TemporaryDirectory(prefix="home-")
os.environ["HOME"] = _home.name  # noqa: TID251
# Backends of several workers cannot share a GPU, so the tests' backends run on the CPU.
os.environ["ENGINE"] = "openvino"  # noqa: TID251

DATA = Path(__file__).parent / "data"
# A test with one of these fixtures, or in tests/e2e, starts servers or a browser, or needs torch.
SLOW_FIXTURES = {
    "backend",
    "browser",
    "load_yolo",
    "machine",
    "redis_server",
    "seeded_checkpoint",
    "start_backend",
}

_fast_test: str | None = None  # the name of the test that runs, when it is not marked slow


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-factor",
        type=int,
        default=1,
        help="send so many times more odd requests, other ones at each run",
    )


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SLOW_FIXTURES or Path(__file__).parent / "e2e" in item.path.parents:
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _fast_test
    _fast_test = None if item.get_closest_marker("slow") else item.nodeid
    result = yield
    _fast_test = None
    return result


def _allow_processes_in_slow_tests_only(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and _fast_test and sys.executable in map(str, arguments[1]):
        raise AssertionError(f"{_fast_test} starts a process: mark the test slow")


sys.addaudithook(_allow_processes_in_slow_tests_only)


@pytest.fixture(scope="session")
def seeded_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the format of the published mobile_sam.pt, with values from a fixed recipe."""
    import torch

    from benchmarks.weights import seeded

    path = tmp_path_factory.mktemp("weights") / "seeded.pt"
    torch.save(seeded(), path)
    return path


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in checkpoint with input frames of 256 pixels, four times as fast."""
    from model.checkpoint import read_metadata
    from model.network.checkpoint import add_metadata
    from model.weights import BUILTIN_PATH

    path = tmp_path_factory.mktemp("base") / "small.safetensors"
    path.write_bytes(BUILTIN_PATH.read_bytes())
    config = {**json.loads(read_metadata(path)["config"]), "image_size": 256}
    add_metadata(path, {"config": json.dumps(config)})
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium for all tests: Playwright allows one at a time."""
    from demo.editor import headless_chromium

    try:
        with headless_chromium() as running:
            yield running
    except FileNotFoundError as error:
        pytest.skip(str(error))


Answer = Callable[[BaseHTTPRequestHandler], tuple[int, Mapping[str, str], bytes]]


class _WebServer(ThreadingHTTPServer):
    request_queue_size = 128  # many clients may connect at the same moment


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[..., str]]:
    """Starts web servers on loopback that run until the end of the module. Returns their URLs.

    The first argument answers each request: from the handler, with the ``body`` of the request, to
    the status, the headers and the body of the answer.
    """
    servers: list[_WebServer] = []

    def start(answer: Answer, address: str = "127.0.0.1", port: int = 0) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, content = answer(self)
                with suppress(OSError):  # the client may have gone
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        server = _WebServer((address, port), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://{address}:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A Redis for this test alone: its process and its URL."""
    from demo.redis_server import RedisServer

    try:
        server = RedisServer(tmp_path / "redis")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield server.process, server.url
    server.stop()


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """What the original MobileSAM code computes from the seeded checkpoint."""
    with np.load(DATA / "mobile_sam_golden.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture
def load_yolo(tmp_path: Path) -> Callable[[Path, int], dict[str, dict[str, np.ndarray]]]:
    """Loads a folder as a training of YOLO-seg does; see yolo_loader.py.

    The second argument is the longest side of the images. Gives ``masks``, N x H x W bool, ``cls``,
    N x 1, and ``ori_shape``, (H, W), by the name of the image without its suffix.
    """
    settings = {
        "YOLO_CONFIG_DIR": str(tmp_path),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
    }

    def load(folder: Path, side: int) -> dict[str, dict[str, np.ndarray]]:
        out = tmp_path / "loaded.npz"
        program = Path(__file__).with_name("yolo_loader.py")
        subprocess.run(
            [sys.executable, "-W", "ignore", program, folder, str(side), out],
            env={**os.environ, **settings},  # noqa: TID251
            check=True,
        )
        samples: dict[str, dict[str, np.ndarray]] = {}
        with np.load(out) as arrays:
            for key in arrays.files:
                kind, _, name = key.partition("/")
                samples.setdefault(name, {})[kind] = arrays[key]
        return samples

    return load
