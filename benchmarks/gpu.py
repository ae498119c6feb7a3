"""The torch engine on a GPU, beside Ultralytics on the same card: ``python -m benchmarks.gpu``.

``make bench`` adds this table where torch finds CUDA. Times of calls are medians.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import weights
from benchmarks.agreement import as_kept
from benchmarks.report import table
from benchmarks.subjects import click, image, measured_in_own_process
from benchmarks.timing import median_ms
from demo.backend import ROOT
from model import Predictor, Prompt, load_predictor

ANNOTATORS = 32
_CLICKS = 20  # of each annotator
_BATCHES = 20


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--repetitions", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "mobile_sam.pt"
        torch.save(weights.with_smooth_masks(), checkpoint)
        print(measure(checkpoint, options.repetitions))


def measure(checkpoint: Path, repetitions: int) -> str:
    """A table of our engine on this machine's device and of Ultralytics."""
    start_s = _start_s(checkpoint)
    predictor = load_predictor(checkpoint, "torch")
    pixels = image("1080p")
    frame = np.asarray(Image.fromarray(pixels).resize((1024, 576)))
    embedding = as_kept(predictor.embed(pixels))
    prompt = Prompt.from_points([click("1080p")])
    other = measured_in_own_process("ultralytics", checkpoint, repetitions)
    clicked = partial(predictor.predict, embedding, prompt)
    clicks_per_s = _clicks_per_s(clicked)
    images_per_s = _images_per_s(predictor)
    with _images_in_background(predictor):
        click_beside = _row("click while images are encoded in batches", clicked, 5 * repetitions)
    rows = [
        ["start of the process to ready", f"{start_s:.1f} s", ""],
        _row("encode, decoded 1080p image", partial(predictor.embed, pixels), repetitions, other),
        _row("encode, image in the input frame", partial(predictor.embed, frame), repetitions),
        _row("click", clicked, 5 * repetitions, other),
        click_beside,
        [f"clicks of {ANNOTATORS} annotators", f"{clicks_per_s:.0f} per second", ""],
        ["images in batches", f"{images_per_s:.0f} per second", ""],
    ]
    return table([_device(), predictor.engine.description, "Ultralytics"], rows)


def _row(
    name: str,
    function: Callable[[], object],
    repetitions: int,
    other: dict[str, float] | None = None,
) -> list[str]:
    key = f"{name.partition(',')[0]} 1080p"
    beside = f"{other[key]:.1f} ms" if other else ""
    return [name, f"{median_ms(function, repetitions):.1f} ms", beside]


def _start_s(checkpoint: Path) -> float:
    """Seconds of a process that imports the libraries and loads the model."""
    begun = time.perf_counter()
    code = "import sys; from model import load_predictor; load_predictor(sys.argv[1], 'torch')"
    subprocess.run([sys.executable, "-c", code, checkpoint], cwd=ROOT, check=True)
    return time.perf_counter() - begun


def _clicks_per_s(clicked: Callable[[], object]) -> float:
    """Clicks of annotators who click again as soon as they see a mask."""

    def annotate(_: int) -> None:
        for _ in range(_CLICKS):
            clicked()

    begun = time.perf_counter()
    with ThreadPoolExecutor(ANNOTATORS) as pool:
        list(pool.map(annotate, range(ANNOTATORS)))
    return ANNOTATORS * _CLICKS / (time.perf_counter() - begun)


def _images_per_s(predictor: Predictor) -> float:
    """Decoded 1080p images in full batches, from two threads."""
    encode = _encode_batch(predictor)
    encode()
    begun = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: encode(), range(_BATCHES)))
    return _BATCHES * predictor.engine.encode_batch / (time.perf_counter() - begun)


def _encode_batch(predictor: Predictor) -> Callable[[], object]:
    batch = [image("1080p")] * predictor.engine.encode_batch
    return partial(predictor.embed_batch, batch, [(1080, 1920)] * len(batch))


@contextmanager
def _images_in_background(predictor: Predictor) -> Iterator[None]:
    """Full batches, one after the other, as long as the context lasts."""
    is_over = threading.Event()
    encode = _encode_batch(predictor)

    def encode_all() -> None:
        while not is_over.is_set():
            encode()

    with ThreadPoolExecutor(1) as pool:
        background = pool.submit(encode_all)
        try:
            yield
        finally:
            is_over.set()
            background.result()


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


if __name__ == "__main__":
    main()
