"""Annotators at a human pace while things go wrong: ``python -m benchmarks.soak --minutes 2``.

Every mask is compared with the mask that a single thread computes. All processes are this run's own
and listen on loopback only. The exit status is 1 after a wrong mask. A late answer is listed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.soak import pictures
from benchmarks.soak.annotators import Annotators
from benchmarks.soak.faults import Faults, Happened
from benchmarks.soak.image_host import ImageHost
from benchmarks.soak.summary import GRACE_S, Summary
from demo.backend import ROOT, Backend
from demo.process import free_port
from demo.redis_server import RedisServer
from model.predictor import load_predictor
from model.weights import BUILTIN_PATH

_LABEL_CONFIG = (ROOT / "examples" / "bitmasks.xml").read_text()
_DISK_MB = 8  # less than the embeddings of all pictures
_SAMPLE_S = 2.0
_PRECOMPUTE_EVERY_S = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the results, return the exit status."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, _small_disk(Path(name) / "cache") as can_fill:
        summary = _run(options, Path(name), can_fill)
    print(summary.text())
    return 1 if summary.wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--annotators", type=int, default=6)
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between two clicks")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--fault-every", type=float, default=6.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _run(options: argparse.Namespace, folder: Path, can_fill: bool) -> Summary:
    (folder / "pictures").mkdir()
    pictures.draw(folder / "pictures", options.pictures, options.seed)
    print("computing the right masks", file=sys.stderr, flush=True)
    predictor = load_predictor(BUILTIN_PATH, "openvino")
    questions = pictures.ask(folder / "pictures", options.pictures, options.seed, predictor)
    questions = [question for question in questions if question.mask.any()]
    redis = RedisServer(folder / "redis")
    try:
        with ImageHost(folder / "pictures", options.seed) as images:
            settings = {
                "LABEL_STUDIO_URL": images.url,
                "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
                "CACHE_DIR": str(folder / "cache"),
                "CACHE_DISK_GB": str(_DISK_MB / 2 / 1024),
                "CACHE_MEMORY_MB": "2",
                "REDIS_URL": redis.url,
                "ENGINE": "openvino",  # several workers cannot share a GPU
                "WORKERS": "2",
                "THREADS": "4",
            }
            backend = Backend(folder / "log", free_port(), **settings)
            try:
                annotators = Annotators(
                    backend.url,
                    images.url,
                    _LABEL_CONFIG,
                    questions,
                    lambda rng: rng.expovariate(1 / options.pause),
                )
                faults = Faults(backend, redis, images, folder / "cache", can_fill)
                with _watched(faults, annotators) as resident, _precomputing(folder, settings):
                    annotators.start(options.annotators, options.seed)
                    happened = _let_things_go_wrong(faults, annotators, options)
                    annotators.stop()
                return Summary(annotators.clicks, happened, resident, backend.log)
            finally:
                backend.stop()
    finally:
        redis.stop()


def _let_things_go_wrong(
    faults: Faults, annotators: Annotators, options: argparse.Namespace
) -> list[Happened]:
    """One fault after the other, in a random order in which each comes once before any again."""
    rng = random.Random(f"{options.seed}-faults")
    happened: list[Happened] = []
    waiting: list[str] = []
    end_s = 60 * options.minutes
    while True:
        pause_s = rng.uniform(0.5, 1.5) * options.fault_every
        if annotators.now_s() + pause_s + 2 * GRACE_S > end_s:
            time.sleep(max(0.0, end_s - annotators.now_s()))
            return happened
        time.sleep(pause_s)
        waiting = waiting or rng.sample(sorted(faults.all), len(faults.all))
        name = waiting.pop()
        begun_s = annotators.now_s()
        faults.all[name](rng, rng.uniform(1, 4))
        happened.append(Happened(name, begun_s, annotators.now_s()))
        print(f"{begun_s:6.0f} s  {name}", file=sys.stderr, flush=True)


@contextmanager
def _watched(faults: Faults, annotators: Annotators) -> Iterator[list[tuple[float, int]]]:
    """The memory of the workers, sampled for the time of the block."""
    samples: list[tuple[float, int]] = []
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(_SAMPLE_S):
            with suppress(psutil.Error):
                size = sum(worker.memory_info().rss for worker in faults.workers())
                samples.append((annotators.now_s(), size))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


@contextmanager
def _precomputing(folder: Path, settings: Mapping[str, str]) -> Iterator[None]:
    """For the time of the block, ``precompute`` runs again and again, in a process of its own."""
    is_over = threading.Event()
    command = [sys.executable, "-m", "backend", "precompute", "--folder", str(folder / "pictures")]
    command += ["--url-prefix", f"{settings['LABEL_STUDIO_URL']}/"]
    environment = {**os.environ, **settings}  # noqa: TID251

    def run() -> None:
        while not is_over.wait(_PRECOMPUTE_EVERY_S):
            with subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                while process.poll() is None and not is_over.wait(0.1):
                    pass
                process.terminate()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A folder; a file system of its own where that is allowed. Yields whether it is one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "none", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


if __name__ == "__main__":
    sys.exit(main())
