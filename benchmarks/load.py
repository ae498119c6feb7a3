"""Annotators at a human pace, and a reload in the middle: ``python -m benchmarks.load``.

Each annotator clicks every 5 to 8 seconds and opens another task after 4 clicks. In the middle of
the run gunicorn replaces its workers (``kill -HUP``). A prober asks for ``/health`` every second,
and waits as long as Label Studio. Every mask is compared with the mask of a single thread.

All processes are this run's own and listen on loopback only. The exit status is 1 if a click
failed, if a mask was wrong, or if ``/health`` gave no answer in time.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.soak import pictures
from benchmarks.soak.annotators import Annotators, Click
from benchmarks.soak.image_host import ImageHost
from demo.backend import ROOT, Backend
from demo.process import free_port
from demo.redis_server import RedisServer
from model.predictor import load_predictor
from model.weights import BUILTIN_PATH

_LABEL_CONFIG = (ROOT / "examples" / "bitmasks.xml").read_text()
_PROBE_TIMEOUT_S = 1.0  # to connect, and then for the answer: Label Studio's of /health
_ROWS = 10


@dataclass
class Probes:
    """What was seen once a second.

    Attributes:
        slowest_s: the longest answer of ``/health``, seconds.
        failed: the seconds of the run at which ``/health`` gave no answer in time.
        resident: (seconds of the run, bytes of all workers).
    """

    slowest_s: float = 0.0
    failed: list[float] = field(default_factory=list)
    resident: list[tuple[float, int]] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the results, return the exit status."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        return _run(options, Path(name))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _run(options: argparse.Namespace, folder: Path) -> int:
    (folder / "pictures").mkdir()
    pictures.draw(folder / "pictures", options.pictures, options.seed)
    print("computing the right masks", file=sys.stderr, flush=True)
    predictor = load_predictor(BUILTIN_PATH, "openvino")
    asked = pictures.ask(folder / "pictures", options.pictures, options.seed, predictor)
    questions = [question for question in asked if question.mask.any()]
    with _servers(folder, options.seed) as (backend, images):
        annotators = Annotators(backend.url, images, _LABEL_CONFIG, questions, _pause)
        with _probing(backend, annotators) as probes:
            annotators.start(options.annotators, options.seed)
            time.sleep(30 * options.minutes)
            begun_s = annotators.now_s()
            _restart(backend)
            ended_s = annotators.now_s()
            time.sleep(max(0.0, 60 * options.minutes - annotators.now_s()))
            annotators.stop()
    _print(annotators.clicks, probes, (begun_s, ended_s))
    is_well = all(click.outcome == "right" for click in annotators.clicks) and not probes.failed
    return 0 if is_well else 1


def _pause(rng: random.Random) -> float:
    return rng.uniform(5, 8)


@contextmanager
def _servers(folder: Path, seed: int) -> Iterator[tuple[Backend, str]]:
    """A backend of 2 workers with a Redis, and the URL of the pictures."""
    redis = RedisServer(folder / "redis")
    try:
        with ImageHost(folder / "pictures", seed) as images:
            backend = Backend(
                folder / "log",
                free_port(),
                LABEL_STUDIO_URL=images.url,
                MOBILESAM_CHECKPOINT=str(BUILTIN_PATH),
                CACHE_DIR=str(folder / "cache"),
                REDIS_URL=redis.url,
                ENGINE="openvino",  # several workers cannot share a GPU
                WORKERS="2",
            )
            try:
                yield backend, images.url
            finally:
                backend.stop()
    finally:
        redis.stop()


def _restart(backend: Backend) -> None:
    """Replace the workers, and wait until the old workers have gone."""
    old = set(_workers(backend))
    backend.process.send_signal(signal.SIGHUP)
    while old & set(_workers(backend)):
        time.sleep(0.1)


def _workers(backend: Backend) -> list[psutil.Process]:
    workers: list[psutil.Process] = psutil.Process(backend.process.pid).children()
    return workers


@contextmanager
def _probing(backend: Backend, annotators: Annotators) -> Iterator[Probes]:
    """Look once a second, for the time of the block."""
    probes = Probes()
    is_over = threading.Event()

    def probe() -> None:
        new_connections = httpx.Limits(max_keepalive_connections=0)  # one for each probe
        with httpx.Client(timeout=_PROBE_TIMEOUT_S, limits=new_connections) as client:
            while not is_over.wait(1):
                begun = time.monotonic()
                try:
                    client.get(f"{backend.url}/health").raise_for_status()
                except httpx.HTTPError:
                    probes.failed.append(annotators.now_s())
                probes.slowest_s = max(probes.slowest_s, time.monotonic() - begun)
                probes.resident.append((annotators.now_s(), _resident(backend)))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield probes
    finally:
        is_over.set()
        thread.join()


def _resident(backend: Backend) -> int:
    size = 0
    for worker in _workers(backend):
        try:
            size += worker.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return size


def _print(clicks: Sequence[Click], probes: Probes, restart: tuple[float, float]) -> None:
    begun_s, ended_s = restart
    during = [click for click in clicks if click.begun_s < ended_s and click.ended_s > begun_s]
    for outcome, count in Counter(click.outcome for click in clicks).most_common():
        print(f"{count:6d} clicks: {outcome}")
    print(f"{len(probes.failed):6d} probes of /health without an answer in time")
    print(f"\nthe restart took {ended_s - begun_s:.1f} s, from {begun_s:.0f} s on")
    print("                 clicks     p50     p95     max, ms")
    print(_row("all", clicks))
    print(_row("of the restart", during))
    print(f"{'/health':14s} {len(probes.resident):8d} {'':15s} {1000 * probes.slowest_s:7.0f}")
    print("\nresident, all workers")
    for at, size in probes.resident[:: max(1, len(probes.resident) // _ROWS)]:
        print(f"{at:6.0f} s {size / 2**20:6.0f} MB")


def _row(name: str, clicks: Sequence[Click]) -> str:
    if not clicks:
        return f"{name:14s}        0"
    waits = [1000 * (click.ended_s - click.begun_s) for click in clicks]
    median, high = np.percentile(waits, [50, 95])
    return f"{name:14s} {len(clicks):8d} {median:7.0f} {high:7.0f} {max(waits):7.0f}"


if __name__ == "__main__":
    sys.exit(main())
