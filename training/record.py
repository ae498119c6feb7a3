"""The record in a checkpoint file: its configuration, its training, its scores.

python -m training.record FILE             shows the record
python -m training.record FILE --judge     first finds the scores again and writes them into it
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from model.checkpoint import read_metadata
from model.network.checkpoint import add_metadata
from model.predictor import load_predictor
from model.weights import BUILTIN_PATH
from training.evaluate import evaluate
from training.evaluation_datasets import synthetic_scenes
from training.labelled_images import LabelledDataset, LabelledImage
from training.photographs import coins, photographs
from training.scores import summarise, table

# The keys of the metadata that the training writes.
TRAINING_FACTS = (
    "seed", "steps", "minutes", "device", "pictures", "photograph_share", "trained_on"
)  # fmt: skip
_FIXED_SCENES, _FIXED_PHOTOGRAPHS = 5, 5
_FIXED_OBJECTS = 2  # of each


@dataclass(frozen=True)
class Record:
    """What a checkpoint file says about its training.

    Attributes:
        config: the fields of ``MobileSAMConfig``.
        seed: the seed of the training.
        steps: the number of training steps.
        minutes: the time that the steps took.
        device: the machine that the steps ran on.
        pictures: the number of pictures in all steps together. A picture counts each time.
        photograph_share: the share of photographs among them, 0 to 1. The others are scenes.
        trained_on: the number of photographs in each data set of the training, by its name.
        scores: what ``training.scores.summarise`` returns, by the name of the evaluation dataset.
    """

    config: Mapping[str, Any]
    seed: int
    steps: int
    minutes: float
    device: str
    pictures: int
    photograph_share: float
    trained_on: Mapping[str, int]
    scores: Mapping[str, Mapping[str, float]]


def fixed_set() -> LabelledDataset:
    """A few scenes and photographs with a few objects each, judged in seconds."""
    scenes, pictures = synthetic_scenes(_FIXED_SCENES), photographs()

    def load(index: int) -> LabelledImage:
        one = scenes.load(index) if index < _FIXED_SCENES else pictures.load(index - _FIXED_SCENES)
        return replace(one, masks=dict(islice(one.masks.items(), _FIXED_OBJECTS)))

    return LabelledDataset("fixed", _FIXED_SCENES + _FIXED_PHOTOGRAPHS, load)


RECORDED_DATASETS: Mapping[str, Callable[[], LabelledDataset]] = MappingProxyType(
    {
        "fixed": fixed_set,
        "scenes": lambda: synthetic_scenes(100),
        "photographs": photographs,
        "coins": coins,
    }
)


def record_scores(path: Path, names: Iterable[str] = tuple(RECORDED_DATASETS)) -> None:
    """Judge a checkpoint file and write the scores into it.

    Args:
        path: a file of this project's training.
        names: of ``RECORDED_DATASETS``; the scores of the others stay.

    Raises:
        ValueError: the file is of another format.
    """
    scores = json.loads(read_metadata(path).get("scores", "{}"))
    predictor = load_predictor(path, engine="torch", precision="fp32")  # alike on all machines
    for name in names:
        scores[name] = summarise(evaluate(predictor, RECORDED_DATASETS[name]()))
    add_metadata(path, {"scores": json.dumps(scores)})


def read_record(path: Path) -> Record:
    """The record of a checkpoint file.

    Raises:
        ValueError: the file is not of this project's training.
    """
    metadata = read_metadata(path)
    missing = {"config", *TRAINING_FACTS} - metadata.keys()
    if missing:
        raise ValueError(f"{path} does not say its {', '.join(sorted(missing))}: train it again")
    return Record(
        config=json.loads(metadata["config"]),
        seed=int(metadata["seed"]),
        steps=int(metadata["steps"]),
        minutes=float(metadata["minutes"]),
        device=metadata["device"],
        pictures=int(metadata["pictures"]),
        photograph_share=float(metadata["photograph_share"]),
        trained_on=json.loads(metadata["trained_on"]),
        scores=json.loads(metadata.get("scores", "{}")),
    )


def describe(path: Path) -> str:
    """The record in Markdown: a sentence and a table."""
    record = read_record(path)
    sentence = (
        f"{path.name}: {record.steps} steps in {record.minutes:.0f} minutes from seed"
        f" {record.seed} on {record.device}, input frame {record.config['image_size']} pixels;"
        f" {_training_pictures(record)}"
    )
    if not record.scores:
        return f"{sentence}. No scores are recorded."
    return f"{sentence}.\n\n{table(list(record.scores.items()))}"


def _training_pictures(record: Record) -> str:
    if not record.trained_on:
        return f"{record.pictures:,} pictures of synthetic scenes"
    total = sum(record.trained_on.values())
    named = ", ".join(f"{name} ({number})" for name, number in record.trained_on.items())
    return (
        f"{record.pictures:,} pictures, {record.photograph_share:.0%} of them photographs from data"
        f" sets of {total:,} ({named}), the others synthetic scenes"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, nargs="?", default=BUILTIN_PATH)
    parser.add_argument(
        "--judge",
        nargs="*",
        choices=RECORDED_DATASETS,
        metavar="SET",
        help=f"find and write the scores first: {', '.join(RECORDED_DATASETS)}; default all",
    )
    arguments = parser.parse_args()
    try:
        if arguments.judge is not None:
            record_scores(arguments.file, arguments.judge or RECORDED_DATASETS)
        print(describe(arguments.file))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"training.record: {error}") from error


if __name__ == "__main__":
    main()
