"""Segment everything: its time beside Ultralytics' on the same weights, and its average recall.

    python -m benchmarks.everything

The time is that of one photograph of 1920 x 1080 pixels with the published architecture. The
weights come from a fixed recipe, and no mask passes the thresholds of either program. So no point
is left out, which is the worst case of ours.

The average recall (AR) is of the built-in weights: each object of the evaluation datasets counts
with the share of the IoU thresholds 0.5, 0.55, ... 0.95 that its best mask reaches, as in COCO.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import report, systems, weights
from benchmarks.systems import CountingPredictor
from model import load_predictor
from model.everything import EverythingSettings, segment_everything
from model.weights import BUILTIN_PATH
from training.evaluation_datasets import synthetic_scenes
from training.labelled_images import LabelledDataset
from training.photographs import coins, photographs
from training.protocol import iou

GRIDS = {
    "all 32 x 32 points": EverythingSettings(hierarchical=False),
    "hierarchical": EverythingSettings(),
}
_THRESHOLDS = np.arange(10, 20) / 20  # 0.5 to 0.95


@dataclass(frozen=True)
class Recall:
    """What one grid finds in one dataset.

    Attributes:
        average_recall: 0 to 1.
        masks: in all images together.
        points: that were decoded, in all images together.
    """

    average_recall: float
    masks: int
    points: int


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.everything", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--scenes", type=int, default=24, help="how many synthetic scenes")
    parser.add_argument("--no-time", action="store_true", help="average recall only")
    parser.add_argument("--no-recall", action="store_true", help="time only")
    options = parser.parse_args()
    if not options.no_recall:
        print(_recall_table([coins(), photographs(), synthetic_scenes(options.scenes)]))
    if not options.no_time:
        print(_time_table())


def _time_table() -> str:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "mobile_sam.pt"
        torch.save(weights.seeded(), checkpoint)
        measured = {
            "ours": systems.measured_in_own_process("ours", checkpoint),
            "Ultralytics MobileSAM": systems.measured_in_own_process(
                "mobile_sam", checkpoint, whole=True
            ),
        }
    ours = measured["ours"]
    rows = [
        [
            name,
            *(
                f"{times[key] / 1000:.1f} s ({times[key] / ours[key]:.1f}x)"
                for key in ("everything", "processor")
            ),
            f"{times.get('points', 1024):.0f}",
            f"{times['masks']:.0f}",
        ]
        for name, times in measured.items()
    ]
    return report.table(["", "everything, 1080p", "processor time", "points", "masks"], rows)


def _recall_table(datasets: list[LabelledDataset]) -> str:
    predictor = CountingPredictor(load_predictor(BUILTIN_PATH))
    rows = []
    for dataset in datasets:
        for name, recall in recalls(predictor, dataset).items():
            rows.append(
                [
                    f"{dataset.name}, {name}",
                    f"{recall.average_recall:.3f}",
                    f"{recall.masks / len(dataset):.1f}",
                    f"{recall.points / len(dataset):.0f}",
                ]
            )
    return report.table(["", "AR", "masks an image", "points an image"], rows)


def recalls(predictor: CountingPredictor, dataset: LabelledDataset) -> dict[str, Recall]:
    """What each of :data:`GRIDS` finds in a dataset."""
    reached: dict[str, list[float]] = {name: [] for name in GRIDS}
    masks, points = dict.fromkeys(GRIDS, 0), dict.fromkeys(GRIDS, 0)
    for labelled in tqdm(dataset, desc=dataset.name, unit="image", mininterval=1):
        embedding = predictor.embed(labelled.image)
        for name, settings in GRIDS.items():
            predictor.points = 0
            best = dict.fromkeys(labelled.masks, 0.0)
            for found in segment_everything(predictor, embedding, settings):
                masks[name] += 1
                for target, mask in labelled.masks.items():
                    best[target] = max(best[target], iou(found.mask, mask))
            points[name] += predictor.points
            reached[name] += [float(np.mean(value >= _THRESHOLDS)) for value in best.values()]
    return {
        name: Recall(float(np.mean(reached[name])), masks[name], points[name]) for name in GRIDS
    }


if __name__ == "__main__":
    main()
