"""The torch engine on a GPU, beside Ultralytics on the same card: ``python -m benchmarks.gpu``.

``make bench`` adds this table where torch finds CUDA.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from model import Predictor, Prompt, load_predictor

ANNOTATORS = 32
_CLICKS = 20  # of each annotator
_BATCHES = 5


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
    begun = time.perf_counter()
    predictor = load_predictor(checkpoint, "torch")
    ready_s = time.perf_counter() - begun
    pixels = image("1080p")
    frame = np.asarray(Image.fromarray(pixels).resize((1024, 576)))
    embedding = as_kept(predictor.embed(pixels))
    prompt = Prompt.from_points([click("1080p")])
    other = measured_in_own_process("ultralytics", checkpoint, repetitions)
    rows = [
        ["start to ready", f"{ready_s:.1f} s", ""],
        _row("encode, decoded 1080p image", partial(predictor.embed, pixels), repetitions, other),
        _row("encode, image in the input frame", partial(predictor.embed, frame), repetitions),
        _row("click", partial(predictor.predict, embedding, prompt), repetitions, other),
        [f"{ANNOTATORS} annotators", f"{_clicks_per_s(predictor):.0f} clicks/s", ""],
        ["images in batches", f"{_images_per_s(predictor):.0f} images/s", ""],
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


def _clicks_per_s(predictor: Predictor) -> float:
    """Clicks of annotators who click again as soon as they see a mask."""
    embedding = as_kept(predictor.embed(image("1080p")))
    prompt = Prompt.from_points([click("1080p")])

    def annotate(_: int) -> None:
        for _ in range(_CLICKS):
            predictor.predict(embedding, prompt)

    begun = time.perf_counter()
    with ThreadPoolExecutor(ANNOTATORS) as pool:
        list(pool.map(annotate, range(ANNOTATORS)))
    return ANNOTATORS * _CLICKS / (time.perf_counter() - begun)


def _images_per_s(predictor: Predictor) -> float:
    """Decoded 1080p images in full batches."""
    batch = [image("1080p")] * predictor.engine.encode_batch
    sizes = [(1080, 1920)] * len(batch)
    predictor.embed_batch(batch, sizes)
    begun = time.perf_counter()
    for _ in range(_BATCHES):
        predictor.embed_batch(batch, sizes)
    return _BATCHES * len(batch) / (time.perf_counter() - begun)


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


if __name__ == "__main__":
    main()
