"""Each image is encoded once: in threads, workers, restarts, hosts and accidents."""

import os
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

Recorded = Callable[[str], dict]


def click(backend, recorded: Recorded, name: str = "click_positive") -> dict:
    response = backend.client.post("/predict", json=recorded(name)["json"])
    assert response.status_code == 200
    (prediction,) = response.json()["results"]
    assert prediction["result"], backend.log[-2000:]
    return prediction


def mask(prediction: dict) -> list[int]:
    return prediction["result"][0]["value"]["rle"]


def test_simultaneous_first_clicks_encode_once(
    start_backend, image_host: str, recorded: Recorded
) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host, WORKERS="2", THREADS="4")
    with ThreadPoolExecutor(16) as pool:
        predictions = list(pool.map(lambda _: click(backend, recorded), range(16)))
    assert backend.count("mobilesam_encodes_total") == 1
    assert len({tuple(mask(prediction)) for prediction in predictions}) == 1


def test_after_a_restart_nothing_is_encoded_again(
    start_backend, image_host: str, recorded: Recorded, tmp_path: Path
) -> None:
    settings = {"LABEL_STUDIO_URL": image_host, "CACHE_DIR": str(tmp_path / "cache")}
    first = start_backend(**settings)
    before = click(first, recorded)
    first.stop()

    again = start_backend(**settings)
    assert mask(click(again, recorded)) == mask(before)
    assert again.count("mobilesam_encodes_total") == 0


def test_a_damaged_file_is_encoded_again(
    start_backend, image_host: str, recorded: Recorded, tmp_path: Path
) -> None:
    settings = {"LABEL_STUDIO_URL": image_host, "CACHE_DIR": str(tmp_path / "cache")}
    first = start_backend(**settings)
    before = click(first, recorded)
    first.stop()
    paths = list((tmp_path / "cache").glob("??/*.safetensors"))  # of the image and of a crop
    for path in paths:
        path.write_bytes(os.urandom(path.stat().st_size))

    again = start_backend(**settings)
    assert mask(click(again, recorded)) == mask(before)
    assert again.count("mobilesam_encodes_total") == 1
    for path in paths:
        assert f"{path} is removed: damaged or foreign" in again.log


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in a file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_gives_one_log_line_and_the_backend_goes_on(
    start_backend, recorded: Recorded, tiny_disk: Path
) -> None:
    backend = start_backend(CACHE_DIR=str(tiny_disk))
    body = recorded("click_positive")["json"]
    for index in range(30):
        body["tasks"][0]["data"]["image"] = data_uri(index)
        (region,) = body["params"]["context"]["result"]
        region["original_width"], region["original_height"] = 64, 48
        (prediction,) = backend.client.post("/predict", json=body).json()["results"]
        assert prediction["model_version"]
    assert "got no mask" not in backend.log
    assert backend.log.count("cannot be used, serving goes on without it") == 1
    assert "No space left on device" in backend.log
    assert backend.count('mobilesam_tier_failures_total{tier="disk"}') >= 1
    assert not list(tiny_disk.rglob("*.part"))


def test_memory_stays_flat_over_thousands_of_images(start_backend, recorded: Recorded) -> None:
    """Memory grows by little more than the cache. When the cache is full, memory stays flat."""
    backend = start_backend(CACHE_MEMORY_MB="64", CACHE_DISK_GB="0", LOG_LEVEL="WARNING")
    body = recorded("click_positive")["json"]
    body["label_config"] = body["label_config"].replace(
        "<BrushLabels ", '<BrushLabels model_crop_refinement="false" '
    )
    (worker,) = workers_of(backend)
    resident = []
    for index in range(1000):
        body["tasks"][0]["data"]["image"] = data_uri(index)
        (region,) = body["params"]["context"]["result"]
        region["original_width"], region["original_height"] = 64, 48
        assert backend.client.post("/predict", json=body).status_code == 200
        if index % 50 == 49:
            resident.append(worker.memory_info().rss)
    assert backend.count("mobilesam_encodes_total") == 1000
    kept = 64 << 20
    assert max(resident) - resident[0] < kept + MARGIN
    assert resident[-1] - resident[9] < MARGIN  # 256 images fill the cache


MARGIN = 48 << 20


def data_uri(index: int) -> str:
    """A picture of 64 x 48, different for each index."""
    pixels = np.random.default_rng(index).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((64, 48), Image.Resampling.NEAREST)
    content = BytesIO()
    image.save(content, "PNG")
    return "data:image/png;base64," + b64encode(content.getvalue()).decode()


def test_hosts_share_through_redis_and_go_on_without_redis(
    start_backend, image_host: str, recorded: Recorded, redis_server: tuple
) -> None:
    process, url = redis_server
    one, other = (start_backend(LABEL_STUDIO_URL=image_host, REDIS_URL=url) for _ in range(2))
    assert mask(click(one, recorded)) == mask(click(other, recorded))
    assert one.count("mobilesam_encodes_total") == 1
    assert other.count("mobilesam_encodes_total") == 0

    process.kill()
    process.wait()
    click(other, recorded, "click_exif_orientation_6")
    assert other.count("mobilesam_encodes_total") == 1
    assert "Redis cannot be used, serving goes on without it" in other.log


class SlowImages:
    """Serves an image. The first request for it gets a byte now and then, until the client closes.

    So the client neither gives up nor asks again, however slow the machine is.
    """

    def __init__(self, content: bytes, start_server: Callable[..., str]) -> None:
        self.requests = threading.Semaphore(0)
        self._is_first = threading.Lock()
        self._content = content
        self.url = start_server(self._answer)

    def _answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if not request.path.startswith("/data/"):  # what a backend asks of Label Studio
            return 404, {}, b""
        first = self._is_first.acquire(blocking=False)
        self.requests.release()
        if first:
            self._dribble(request)
        return 200, {}, self._content

    def _dribble(self, request: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):  # the client has closed
            request.send_response(200)
            request.send_header("Content-Length", str(len(self._content)))
            request.end_headers()
            for byte in self._content:
                request.wfile.write(bytes([byte]))
                time.sleep(0.5)


def workers_of(backend) -> list[psutil.Process]:
    return psutil.Process(backend.process.pid).children()


def test_another_worker_takes_over_from_one_that_is_killed(
    start_backend, start_server, image_host: str, recorded: Recorded
) -> None:
    content = httpx.get(f"{image_host}/data/upload/1/a244aff6-upload.png").content
    images = SlowImages(content, start_server)
    backend = start_backend(LABEL_STUDIO_URL=images.url, WORKERS="2", THREADS="1")
    body = recorded("click_positive")["json"]

    with ThreadPoolExecutor(32) as pool:
        answers = [pool.submit(backend.client.post, "/predict", json=body)]
        images.requests.acquire()  # one worker waits for the image
        workers = workers_of(backend)
        busy = next(worker for worker in workers if has_connection(worker, to=images.url))
        (other,) = set(workers) - {busy}
        for _ in range(31):
            # A busy worker still accepts connections, so go on until the other worker has one.
            answers.append(pool.submit(backend.client.post, "/predict", json=body))
            if has_connection(other, at=str(backend.client.base_url)):
                break
            time.sleep(0.05)
        busy.kill()
        assert isinstance(answers[0].exception(), httpx.TransportError)
        survivors = [answer.result() for answer in answers if answer.exception() is None]
    assert survivors
    assert all(survivor.json()["results"][0]["result"] for survivor in survivors)


def has_connection(worker: psutil.Process, *, to: str = "", at: str = "") -> bool:
    """Whether a process has an open connection to the port of a loopback URL, or at its own."""
    port = httpx.URL(to or at).port
    opened = [one for one in worker.net_connections("tcp") if one.status == "ESTABLISHED"]
    return any((one.raddr if to else one.laddr).port == port for one in opened)
