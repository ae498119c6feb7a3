"""The systems of the speed table on Ultralytics' MobileSAM page, each in a process of its own.

    python -m benchmarks.systems NAME CHECKPOINT [--whole]

``ours`` and ``mobile_sam`` have the weights of CHECKPOINT, which is a ``mobile_sam.pt``. The other
systems are built by the Ultralytics package with random weights. All of them get one photograph of
1920 x 1080 pixels and all cores, and run as the package runs them by default.

SAM and SAM 2 search with 1,024 points in batches of 64, which takes minutes. So the time of one
batch is measured, and the time of the 15 others is added. ``--whole`` measures all batches.

Prints one line of JSON: milliseconds of ``everything`` and of one ``prompt`` on a new image.
``processor`` is the processor time of everything, which a busy machine changes little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.subjects import SIDE, click, image
from benchmarks.timing import elapsed_ms, median_ms
from demo.backend import ROOT
from model import ImageEmbedding, Predictor, Prompt, load_predictor
from model.everything import segment_everything

SAM_FAMILY = ("mobile_sam", "sam_b", "sam2_b", "sam2_t")
YOLO_FAMILY = ("fastsam_s", "yolov8n-seg", "yolo11n-seg")
SYSTEMS = ("ours", *SAM_FAMILY, *YOLO_FAMILY)
_BATCHES = 16  # of 64 points
_REPETITIONS = 3

Measured = dict[str, float]


class CountingPredictor(Predictor):
    """Counts the points that are decoded.

    Attributes:
        points: how many, so far.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.engine, predictor.checkpoint)
        self.points = 0

    def find_masks(
        self, embedding: ImageEmbedding, points: npt.NDArray[np.float32], iou_thresh: float
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Count, and search."""
        self.points += len(points)
        return super().find_masks(embedding, points, iou_thresh)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.systems")
    parser.add_argument("name", choices=SYSTEMS)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--whole", action="store_true", help="all 1,024 points of SAM")
    options = parser.parse_args()
    if options.name == "ours":
        measured = _ours(options.checkpoint)
    else:
        # Ultralytics keeps its settings beside the checkpoint, and fetches nothing.
        os.environ.update(  # noqa: TID251
            YOLO_CONFIG_DIR=str(options.checkpoint.parent),
            YOLO_OFFLINE="true",
            YOLO_AUTOINSTALL="false",
        )
        if options.name in SAM_FAMILY:
            measured = _sam(options.name, options.checkpoint, whole=options.whole)
        else:
            measured = _yolo(options.name)
    print(json.dumps(measured))


def measured_in_own_process(name: str, checkpoint: Path, *, whole: bool = False) -> Measured:
    """What this program prints about one system."""
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.systems", name, str(checkpoint)]
    said = subprocess.run(
        [*command, *(["--whole"] if whole else [])], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    measured: Measured = json.loads(said.stdout.splitlines()[-1])
    return measured


def _ours(checkpoint: Path) -> Measured:
    predictor = CountingPredictor(load_predictor(checkpoint, model_dir=checkpoint.parent))
    pixels = image("1080p")
    masks = 0

    def everything() -> None:
        nonlocal masks
        predictor.points = 0
        masks = sum(1 for _ in segment_everything(predictor, predictor.embed(pixels)))

    def prompt() -> None:
        predictor.predict(predictor.embed(pixels), Prompt.from_points([click("1080p")]))

    everything()  # compiles the graph
    times = [_timed(everything) for _ in range(_REPETITIONS)]
    return {
        "everything": statistics.median(elapsed for elapsed, _ in times),
        "processor": statistics.median(processor for _, processor in times),
        "prompt": median_ms(prompt, _REPETITIONS),
        "masks": masks,
        "points": predictor.points,
    }


def _sam(name: str, checkpoint: Path, *, whole: bool) -> Measured:
    predictor = _with_all_cores(partial(_sam_predictor, name, checkpoint))
    bgr = image("1080p")[..., ::-1].copy()
    results: list[Any] = []

    def prompt() -> None:
        predictor(bgr, points=[click("1080p")], labels=[1])

    def everything(**options: Any) -> None:
        results[:] = predictor(bgr, **options)

    prompt()  # the first run of a network is slower
    prompt_ms = elapsed_ms(prompt)
    if whole:
        everything_ms, processor_ms = _timed(everything)
        found = results[0].masks
        measured: Measured = {"processor": processor_ms, "masks": len(found) if found else 0}
    else:
        batch_ms = elapsed_ms(partial(everything, points_stride=8))
        everything_ms = batch_ms + (_BATCHES - 1) * (batch_ms - prompt_ms)
        measured = {}
    return {"everything": everything_ms, "prompt": prompt_ms, **measured}


def _sam_predictor(name: str, checkpoint: Path) -> Any:
    from ultralytics.models.sam import Predictor, SAM2Predictor, build

    options: dict[str, Any] = {"imgsz": SIDE, "verbose": False, "save": False}
    if name == "mobile_sam":  # Ultralytics tells the architecture by the file's name
        predictor = Predictor(overrides={"model": str(checkpoint), **options})
        predictor.setup_model(verbose=False)
        return predictor
    kind: Any = SAM2Predictor if name.startswith("sam2") else Predictor
    predictor = kind(overrides={"model": f"{name}.pt", **options})
    builders: dict[str, Any] = {
        "sam_b": build.build_sam_vit_b,
        "sam2_b": build.build_sam2_b,
        "sam2_t": build.build_sam2_t,
    }
    predictor.setup_model(model=builders[name](), verbose=False)
    return predictor


def _yolo(name: str) -> Measured:
    """FastSAM-s is the network of YOLOv8s-seg. It takes prompts, YOLO does not."""
    from ultralytics.models import YOLO
    from ultralytics.models.fastsam import FastSAMPredictor
    from ultralytics.models.yolo.segment import SegmentationPredictor

    bgr = image("1080p")[..., ::-1].copy()
    is_fastsam = name == "fastsam_s"
    network = YOLO("yolov8s-seg.yaml" if is_fastsam else f"{name}.yaml", verbose=False)
    kind: Any = FastSAMPredictor if is_fastsam else SegmentationPredictor
    predictor = kind(overrides={"verbose": False, "save": False})
    _with_all_cores(partial(predictor.setup_model, network.model, verbose=False))
    measured: Measured = {"everything": median_ms(partial(predictor, bgr), _REPETITIONS)}
    if is_fastsam:
        predictor.set_prompts({"points": [click("1080p")], "labels": [1]})
        measured["prompt"] = median_ms(partial(predictor, bgr), _REPETITIONS)
    return measured


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """The elapsed time and the processor time of a call, milliseconds."""
    processor = time.process_time()
    elapsed = elapsed_ms(call)
    return elapsed, (time.process_time() - processor) * 1000


def _with_all_cores(build: Callable[[], Any]) -> Any:
    """What is built, with all cores given back to torch: Ultralytics leaves one out."""
    import torch

    built = build()
    torch.set_num_threads(os.cpu_count() or 1)
    return built


if __name__ == "__main__":
    main()
