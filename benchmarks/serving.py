"""The running backend: start-up, memory, and clicks through HTTP, of one annotator and of eight."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from backend.allocator import keep_small_return_large
from benchmarks import installation
from benchmarks.agreement import as_kept
from benchmarks.installation import Installation
from benchmarks.subjects import CLICK, SIZES, click, image
from benchmarks.timing import elapsed_ms, median_ms
from demo.backend import ROOT, Backend
from demo.smart_regions import keypoint, predict_request
from model import Prompt, interactive, load_predictor
from model.formats import brush_rle

ANNOTATORS = (1, 4, 8)
_LABEL_CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()


@dataclass(frozen=True)
class Crowd:
    """How long annotators wait who click again as soon as they see a mask, each on an own image."""

    annotators: int
    median_ms: float
    p95_ms: float
    requests_per_s: float


@dataclass(frozen=True)
class Serving:
    """The measurements of one backend.

    Attributes:
        installation: of a fresh environment, which ends with a click on a new 1080p image.
        first_start_s, second_start_s: from the command to the first answer; the first
            start computes the answers of the self-check.
        cold_ms, warm_ms: a click on a new image and on an embedded image, by size of the image.
        http_ms: the part of a warm click at 1080p that is neither the mask nor its RLE.
        crowds: clicks on embedded 1080p images.
        encoding: clicks of one annotator on an embedded 1080p image while others are encoded.
        resident_mb: memory of the worker at the end.
        shared_mb: the part of it that workers share: files, libraries and weights.
    """

    installation: Installation
    first_start_s: float
    second_start_s: float
    cold_ms: dict[str, float]
    warm_ms: dict[str, float]
    http_ms: float
    crowds: list[Crowd]
    encoding: Crowd
    resident_mb: float
    shared_mb: float


def measure(checkpoint: Path, repetitions: int) -> Serving:
    """Start a backend of one worker twice, and click."""
    with tempfile.TemporaryDirectory() as name, _served_images(repetitions) as images:
        folder = Path(name)
        start = partial(
            Backend,
            folder / "log",
            LABEL_STUDIO_URL=images,
            MOBILESAM_CHECKPOINT=str(checkpoint),
            MODEL_DIR=str(folder / "models"),
            CACHE_DIR=str(folder / "embeddings"),
            WORKERS="1",
        )
        installed = installation.measure(
            checkpoint, images, partial(_click_once, _body(images, "1080p", 0))
        )
        started = time.perf_counter()
        start().stop()
        stopped = time.perf_counter()
        backend = start()
        second_start_s = time.perf_counter() - stopped
        try:
            with httpx.Client(base_url=backend.url, timeout=100) as client:
                cold = {
                    size: statistics.median(
                        elapsed_ms(partial(_ask, client, _body(images, size, index)))
                        for index in range(repetitions)
                    )
                    for size in SIZES
                }
                warm = {
                    size: median_ms(partial(_ask, client, _body(images, size, 0)), 4 * repetitions)
                    for size in SIZES
                }
                http_ms = _http_ms(client, images, folder / "models", checkpoint, 4 * repetitions)
            crowds = [_crowd(backend.url, images, count, 4 * repetitions) for count in ANNOTATORS]
            encoding = _while_encoding(backend.url, images, 4 * repetitions)
            (worker,) = psutil.Process(backend.process.pid).children()
            memory = worker.memory_info()
        finally:
            backend.stop()
    return Serving(
        installed,
        stopped - started,
        second_start_s,
        cold,
        warm,
        http_ms,
        crowds,
        encoding,
        resident_mb=memory.rss / 2**20,
        shared_mb=memory.shared / 2**20,
    )


def _http_ms(
    client: httpx.Client, images: str, model_dir: Path, checkpoint: Path, repetitions: int
) -> float:
    """How much longer a warm click takes than the same click in this process, by turns."""
    predictor = load_predictor(checkpoint, model_dir=model_dir)
    embedding = as_kept(predictor.embed(image("1080p")))
    prompt = Prompt.from_points([click("1080p")])
    body = _body(images, "1080p", 0)

    def here() -> list[int]:
        (prediction,) = interactive.segment(predictor, embedding, [prompt])
        return brush_rle.encode(prediction.mask)

    keep_small_return_large()  # as the backend does
    here()
    turns = [elapsed_ms(partial(_ask, client, body)) - elapsed_ms(here) for _ in range(repetitions)]
    return float(np.median(turns))


def _crowd(url: str, images: str, annotators: int, clicks: int) -> Crowd:
    def annotate(index: int) -> list[float]:
        with httpx.Client(base_url=url, timeout=100) as client:
            body = _body(images, "1080p", index)
            _ask(client, body)  # embedded, whoever was here before
            barrier.wait()
            return [elapsed_ms(partial(_ask, client, body)) for _ in range(clicks)]

    barrier = threading.Barrier(annotators)
    with ThreadPoolExecutor(annotators) as pool:
        times = list(pool.map(annotate, range(annotators)))
    return _summary(times)


def _while_encoding(url: str, images: str, clicks: int) -> Crowd:
    """Clicks while a queue of new images, more than the clicks have time for, is embedded."""
    tasks = [
        {"id": index, "data": {"image": f"{images}/1080p-0.jpg?new={index}"}}
        for index in range(clicks)
    ]
    opened = {"tasks": tasks, "label_config": _LABEL_CONFIG, "params": {"context": None}}
    body = _body(images, "1080p", 0)
    with httpx.Client(base_url=url, timeout=100) as client:
        _ask(client, body)
        client.post("/predict", json=opened).raise_for_status()
        return _summary([[elapsed_ms(partial(_ask, client, body)) for _ in range(clicks)]])


def _summary(times: Sequence[Sequence[float]]) -> Crowd:
    """Summarise the milliseconds that each annotator waited for each click."""
    seconds = max(sum(one) for one in times) / 1000
    waited = np.concatenate(times)
    return Crowd(
        len(times),
        float(np.median(waited)),
        float(np.percentile(waited, 95)),
        len(waited) / seconds,
    )


def _click_once(body: bytes, url: str) -> None:
    with httpx.Client(base_url=url, timeout=100) as client:
        _ask(client, body)


def _ask(client: httpx.Client, body: bytes) -> None:
    response = client.post("/predict", content=body)
    response.raise_for_status()
    if b'"rle"' not in response.content:
        raise RuntimeError(f"a click got no mask: {response.text[:500]}")


def _body(images: str, size: str, index: int) -> bytes:
    width, height = SIZES[size]
    region = keypoint(100 * CLICK[0], 100 * CLICK[1], width=width, height=height)
    task = {"id": index, "data": {"image": f"{images}/{size.replace(' ', '')}-{index}.jpg"}}
    return json.dumps(predict_request(task, _LABEL_CONFIG, region)).encode()


@contextmanager
def _served_images(count: int) -> Iterator[str]:
    """``count`` JPEG files of each size, at least one for each annotator, on loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            pixels = Image.fromarray(image(size))
            _save_copies(pixels, Path(folder) / size.replace(" ", ""), max(count, *ANNOTATORS))
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


def _save_copies(pixels: Image.Image, stem: Path, count: int) -> None:
    first = stem.with_name(f"{stem.name}-0.jpg")
    pixels.save(first, quality=90)
    for index in range(1, count):
        first.with_name(f"{stem.name}-{index}.jpg").hardlink_to(first)
