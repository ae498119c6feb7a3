"""What annotated images are worth: clicks and IoU on held-out images after learning from some.

    python -m training.learning.curve DIR instances.json --work curve

A path is a dataset as ``training.evaluate`` takes it. The last images by lot are held out; the
first ones are learnt from. A command that was stopped goes on when it is given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.predictor import load_predictor
from model.weights import BUILTIN_PATH
from training.evaluation_datasets import open_dataset
from training.labelled_images import LabelledDataset, sample
from training.learning.decoder import Recipe
from training.learning.gate import SCENE_OBJECTS, Pair, decide, heeded_shares, judge_pairs
from training.learning.pictures import Picture, Role, pictures_of, role_of
from training.learning.rehearsal import Rehearsal
from training.learning.run import prepare, train

_COUNTS = (10, 30, 100)
_COLUMNS = ("1_click", "3_clicks", "5_clicks", "box", "noc_85")
_RESULTS = "results.jsonl"


def main() -> None:
    """The command."""
    options = _parse()
    rehearsal = Rehearsal(
        options.work / "scenes", load_predictor(options.checkpoint, engine=options.engine)
    )
    rehearsal.prepare()
    known = _read(options.work / _RESULTS)
    for path in options.paths:
        dataset = sample(open_dataset(path, unknown=options.unknown), None, options.objects)
        for count in options.counts:
            if (dataset.name, count) not in {(one["dataset"], one["images"]) for one in known}:
                known.append(measure(dataset, count, rehearsal, options))
                _append(options.work / _RESULTS, known[-1])
    print(_table(known))


def measure(
    dataset: LabelledDataset, count: int, rehearsal: Rehearsal, options: argparse.Namespace
) -> dict[str, Any]:
    """Learn from some images of a dataset, and judge by its held-out images.

    Args:
        dataset: the images.
        count: how many to learn from. One of ten is watched, as in a project.
        rehearsal: the scenes of the checkpoint.
        options: of the command.
    """
    learnt, held_out = split(dataset, count, options.held_out, rehearsal)
    folder = options.work / f"{dataset.name}-{count}"
    recipe = dataclasses.replace(Recipe(), steps=options.steps, learning_rate=options.rate)
    prepare(folder, learnt, rehearsal.predictor)
    begun = time.process_time()
    tensors = train(folder, rehearsal, recipe, options.device, options.minutes)
    cpu_s = time.process_time() - begun
    base = rehearsal.predictor
    after = base.with_decoder(tensors)
    scenes = rehearsal.pictures(Role.JUDGE)
    own = judge_pairs(base, after, held_out, f"{dataset.name}, held out")
    others = judge_pairs(base, after, scenes, "synthetic scenes", objects=SCENE_OBJECTS)
    verdict = decide(own, others, heeded_shares(base, after, scenes))
    objects = sum(len(picture.objects) for picture in learnt)
    return {
        "dataset": dataset.name, "images": count, "learnt_objects": objects,
        "cpu_s": round(cpu_s, 1), "recipe": dataclasses.asdict(recipe), **verdict.scores,
        "failures_85": [_failures(own, is_after=is_after) for is_after in (False, True)],
    }  # fmt: skip


def split(
    dataset: LabelledDataset, count: int, held_out: int, rehearsal: Rehearsal
) -> tuple[list[Picture], list[Picture]]:
    """The images to learn from, and the images to judge by: the same ones for every count."""
    order = np.random.default_rng(1).permutation(len(dataset)).tolist()
    if count + held_out > len(order):
        raise ValueError(
            f"{dataset.name} has {len(order)} images: {count} to learn from and {held_out} to"
            " judge by are more"
        )
    parts = (order[:count], order[len(order) - held_out :])
    roles = ((Role.LEARN, Role.WATCH), (Role.JUDGE,))
    return _pictures(dataset, parts[0], roles[0], rehearsal), _pictures(
        dataset, parts[1], roles[1], rehearsal
    )


def _pictures(
    dataset: LabelledDataset, indices: Sequence[int], roles: Sequence[Role], rehearsal: Rehearsal
) -> list[Picture]:
    """Images as the tasks of a project whose ids have the roles."""
    part = LabelledDataset(dataset.name, len(indices), lambda n: dataset.load(indices[n]))
    ids = (number for number in itertools.count() if role_of(number) in roles)
    pictures = pictures_of(part, rehearsal.predictor)
    return [
        dataclasses.replace(picture, task_id=task_id)
        for picture, task_id in zip(pictures, ids, strict=False)
    ]


def _failures(pairs: Sequence[Pair], *, is_after: bool) -> float:
    """The share of objects that 20 clicks do not bring to an IoU of 0.85."""
    scores = [pair.after if is_after else pair.before for pair in pairs]
    return round(float(np.mean([score.clicks_to[1] is None for score in scores])), 4)


def _table(results: Sequence[dict[str, Any]]) -> str:
    """The results as a Markdown table; each dataset begins with a row of 0 images."""
    header = ["", "images", "objects", *(name.replace("_", " ") for name in _COLUMNS)]
    lines = [[*header, "IoU gain, at least", "scenes lose", "CPU s"]]
    for name, group in itertools.groupby(results, key=lambda one: one["dataset"]):
        rows = list(group)
        before = [f"{rows[0]['gains'][column]['before']:.3f}" for column in _COLUMNS]
        lines.append([name, "0", "0", *before, "", "", ""])
        for row in rows:
            after = [f"{row['gains'][column]['after']:.3f}" for column in _COLUMNS]
            lines.append(
                [name, str(row["images"]), str(row["learnt_objects"]), *after]
                + [f"{row['gains']['iou']['lower']:+.3f}", f"{row['scenes_loss']:+.3f}"]
                + [f"{row['cpu_s']:.0f}"]
            )
    lines.insert(1, ["---", *["--:"] * (len(lines[0]) - 1)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path, result: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(result) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.learning.curve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--checkpoint", type=Path, default=BUILTIN_PATH, help="default: built-in")
    parser.add_argument("--counts", type=int, nargs="+", default=_COUNTS)
    parser.add_argument("--held-out", type=int, default=20, help="images to judge by")
    parser.add_argument("--objects", type=int, default=8, help="of each image, at most")
    parser.add_argument("--unknown", type=int, help="value in masks/ of pixels that count for none")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--rate", type=float, default=Recipe.learning_rate, help="learning rate")
    parser.add_argument("--minutes", type=float, default=20.0, help="of one training, at most")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--engine", choices=("openvino", "torch", "auto"), default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
