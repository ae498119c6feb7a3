"""The gain of the embedding cache: latency by tier, a session with prefetch, RQ workers.

    python -m benchmarks.cache tiers      # a hit in each tier, and a miss
    python -m benchmarks.cache session    # 50 tasks of 8 s in a real Label Studio
    python -m benchmarks.cache workers    # images per second of precompute

Prints Markdown; needs redis-server, and the session Label Studio as `make test` installs it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
from PIL import Image

from backend.embeddings.disk_tier import DiskTier
from backend.embeddings.redis_tier import RedisTier
from backend.embeddings.segmenter import Segmenter
from backend.embeddings.store import EmbeddingStore
from backend.http.client import HttpClient
from backend.images.fetching import Fetcher
from backend.images.freshness import ImageWatch
from backend.images.image_ref import ImageRef
from backend.images.loading import ImageLoader, LoadedImage
from backend.images.validator import Validator
from backend.jobs import QUEUE_NAME
from backend.precompute import Report, embed_on_workers
from backend.settings import Settings
from benchmarks.timing import median_ms
from demo.__main__ import EXECUTABLE
from demo.backend import ROOT, Backend
from demo.label_studio import LabelStudio
from demo.process import free_port
from demo.redis_server import RedisServer
from demo.smart_regions import keypoint
from model.predictor import load_predictor
from model.weights import BUILTIN_PATH, DEFAULT_MODEL_DIR, expanded, find
from training import scenes

WIDTH, HEIGHT = 1920, 1080
LABEL_CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cache", description=(__doc__ or "").split("\n")[0]
    )
    parts = parser.add_subparsers(required=True, metavar="part")
    tiers = parts.add_parser("tiers", help="a hit in each tier, and a miss")
    tiers.add_argument("--repetitions", type=int, default=30)
    tiers.set_defaults(run=lambda options: measure_tiers(options.repetitions))
    session = parts.add_parser("session", help="first clicks that find their embedding")
    session.add_argument("--tasks", type=int, default=50)
    session.add_argument("--seconds", type=float, default=8.0, help="an annotator's time for each")
    session.set_defaults(run=lambda options: measure_session(options.tasks, options.seconds))
    workers = parts.add_parser("workers", help="images per second of precompute")
    workers.add_argument("--images", type=int, default=400)
    workers.set_defaults(run=lambda options: measure_workers(options.images))
    options = parser.parse_args()
    options.run(options)


def measure_tiers(repetitions: int) -> None:
    """Milliseconds until an embedding is available, by the place where it is found."""
    predictor = load_predictor(find(None, expanded(DEFAULT_MODEL_DIR)).path)
    with tempfile.TemporaryDirectory() as folder, running_redis() as url:
        disk, shared = DiskTier(Path(folder), 1 << 30), RedisTier(url)
        image = ImageRef("data:,image")  # a data: URI is never asked for again
        watch = ImageWatch(Fetcher(None, HttpClient()))

        def fresh(*tiers: DiskTier | RedisTier) -> Segmenter:
            return Segmenter(predictor, EmbeddingStore(1 << 30, tiers), _OnePicture(), watch)

        warm = fresh(disk, shared)
        warm.embed(image)
        found: dict[str, Callable[[], object]] = {
            "memory": lambda: warm.embed(image),
            "disk": lambda: fresh(disk).embed(image),
            "Redis": lambda: fresh(shared).embed(image),
            "nowhere: encoded": lambda: fresh().embed(image),
        }

        print(f"{predictor.checkpoint.model_version}, {predictor.engine.description}\n")
        print("| found in | median ms |\n|---|---|")
        for name, embed in found.items():
            print(f"| {name} | {median_ms(embed, repetitions):.2f} |")


def measure_session(task_count: int, seconds: float) -> None:
    """How many first clicks of a session find their embedding ready.

    The backend is connected after the import of the tasks, so it learns which images come next from
    opened and finished tasks alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        label_studio = LabelStudio(EXECUTABLE, Path(folder) / "label-studio")
        backend = Backend(
            Path(folder) / "log",
            LABEL_STUDIO_URL=label_studio.url,
            LABEL_STUDIO_API_KEY=label_studio.token,
            CACHE_DIR=str(Path(folder) / "cache"),
        )
        try:
            project_id = label_studio.create_project("session", LABEL_CONFIG)
            label_studio.upload(
                project_id, {f"{i:03}.jpg": jpeg(picture(i)) for i in range(task_count)}
            )
            backend_id = label_studio.connect(project_id, backend.url)
            ready, latencies = 0, []
            for task in label_studio.tasks(project_id):
                begun = time.monotonic()
                label_studio.open_task(task["id"])
                time.sleep(seconds / 4)  # looking for the object
                before = encodes(backend)
                started = time.perf_counter()
                label_studio.interact(
                    backend_id,
                    task["id"],
                    {"result": [keypoint(50, 50, width=WIDTH, height=HEIGHT)]},
                )
                latencies.append((time.perf_counter() - started) * 1000)
                ready += encodes(backend) == before
                time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
                label_studio.annotate(task["id"], [])
        finally:
            backend.stop()
            label_studio.stop()
    print(f"{ready} of {task_count} first clicks found their embedding ready;")
    print(f"median first click {statistics.median(latencies):.0f} ms through Label Studio,")
    print(f"slowest {max(latencies):.0f} ms")


def measure_workers(image_count: int) -> None:
    """Images per second that RQ workers embed."""
    print("| RQ workers | images per second |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for index in range(image_count):
            (Path(folder) / f"{index}.jpg").write_bytes(jpeg(picture(index % 20)))
        server = subprocess.Popen(
            [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port := free_port())],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        urls = [f"http://127.0.0.1:{port}/{index}.jpg" for index in range(image_count)]
        for workers in (1, 2):
            print(f"| {workers} | {images_per_second(workers, urls):.1f} |", flush=True)
        server.terminate()
        server.wait()


def images_per_second(workers: int, urls: list[str]) -> float:
    """From the first job on, workers up and waiting, until the last is done."""
    with running_redis() as url:
        environment = {
            **os.environ,  # noqa: TID251
            "REDIS_URL": url,
            "CACHE_DISK_GB": "0",
            "LABEL_STUDIO_URL": urls[0].rpartition("/")[0],
            "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
        }
        command = [str(Path(sys.executable).with_name("rq")), "worker", "--url", url, QUEUE_NAME]
        started = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(workers)
        ]
        client = redis.Redis.from_url(url)
        while client.scard("rq:workers") < workers:
            time.sleep(0.05)
        report = Report()
        begun = time.perf_counter()
        embed_on_workers(Settings(redis_url=url), map(ImageRef, urls), len(urls), report)
        seconds = time.perf_counter() - begun
        for worker in started:
            worker.terminate()
            worker.wait()
        if report.failures:
            raise RuntimeError(f"{report}, first: {report.failures[0]}")
    return len(urls) / seconds


@contextmanager
def running_redis() -> Iterator[str]:
    """A Redis of its own; gives the URL."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            yield server.url
        finally:
            server.stop()


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A synthetic scene, 1080 x 1920 x 3 uint8 RGB."""
    scene = scenes.generate(np.random.default_rng(seed), 1024)
    return np.asarray(Image.fromarray(scene.image).resize((WIDTH, HEIGHT)))


def jpeg(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The image as a file."""
    content = BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=90)
    return content.getvalue()


def encodes(backend: Backend) -> float:
    """How many images a backend has encoded."""
    lines = httpx.get(f"{backend.url}/metrics").text.splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("mobilesam_encodes_total"))


class _OnePicture(ImageLoader):
    """Has the same picture for every URL, as a file in memory."""

    def __init__(self) -> None:
        self._content = jpeg(picture(0))

    def load(self, ref: ImageRef) -> LoadedImage:
        return LoadedImage(self._content, Validator())


if __name__ == "__main__":
    main()
