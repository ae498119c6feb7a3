"""What a checkpoint file records of its making: configuration, seed, steps, minutes, scores.

python -m training.record FILE             shows it
python -m training.record FILE --judge     finds the scores anew and records them first
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

from model.network.checkpoint import add_metadata, read_metadata
from model.predictor import load_predictor
from model.weights import BUILTIN_PATH
from training.evaluate import evaluate
from training.judging_sets import JudgingSet, LabelledImage, drawn_scenes
from training.photographs import coins, photographs
from training.scores import summarise, table

_FIXED_SCENES, _FIXED_PHOTOGRAPHS = 5, 5
_FIXED_OBJECTS = 2  # of each


@dataclass(frozen=True)
class Record:
    """What the file says.

    Attributes:
        config: fields of ``MobileSAMConfig``.
        seed: of the training.
        steps: that were trained.
        minutes: that they took.
        scores: as of ``training.scores.summarise``, by the name of the set.
    """

    config: Mapping[str, Any]
    seed: int
    steps: int
    minutes: float
    scores: Mapping[str, Mapping[str, float]]


def fixed_set() -> JudgingSet:
    """A few scenes and photographs with a few objects each, judged in seconds."""
    scenes, pictures = drawn_scenes(_FIXED_SCENES), photographs()

    def load(index: int) -> LabelledImage:
        one = scenes.load(index) if index < _FIXED_SCENES else pictures.load(index - _FIXED_SCENES)
        return replace(one, masks=dict(islice(one.masks.items(), _FIXED_OBJECTS)))

    return JudgingSet("fixed", _FIXED_SCENES + _FIXED_PHOTOGRAPHS, load)


RECORDED_SETS: Mapping[str, Callable[[], JudgingSet]] = MappingProxyType(
    {
        "fixed": fixed_set,
        "scenes": lambda: drawn_scenes(100),
        "photographs": photographs,
        "coins": coins,
    }
)


def record_scores(path: Path, names: Iterable[str] = tuple(RECORDED_SETS)) -> None:
    """Judge a checkpoint file and write the scores into it.

    Args:
        path: a file of this project's training.
        names: of ``RECORDED_SETS``; scores of others stay, since the weights do.

    Raises:
        ValueError: it is no such file.
    """
    scores = json.loads(read_metadata(path).get("scores", "{}"))
    predictor = load_predictor(path, engine="torch", precision="fp32")  # alike on all machines
    for name in names:
        scores[name] = summarise(evaluate(predictor, RECORDED_SETS[name]()))
    add_metadata(path, {"scores": json.dumps(scores)})


def read_record(path: Path) -> Record:
    """What a checkpoint file records.

    Raises:
        ValueError: it is no file of this project's training.
    """
    metadata = read_metadata(path)
    missing = {"config", "seed", "steps", "minutes"} - metadata.keys()
    if missing:
        raise ValueError(f"{path} does not say its {', '.join(sorted(missing))}: train it anew")
    return Record(
        config=json.loads(metadata["config"]),
        seed=int(metadata["seed"]),
        steps=int(metadata["steps"]),
        minutes=float(metadata["minutes"]),
        scores=json.loads(metadata.get("scores", "{}")),
    )


def describe(path: Path) -> str:
    """The record in Markdown: a sentence and a table."""
    record = read_record(path)
    sentence = (
        f"{path.name}: {record.steps} steps in {record.minutes:.0f} minutes from seed"
        f" {record.seed}, input frame {record.config['image_size']} pixels"
    )
    if not record.scores:
        return f"{sentence}. No scores are recorded."
    return f"{sentence}.\n\n{table(list(record.scores.items()))}"


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
        choices=RECORDED_SETS,
        metavar="SET",
        help=f"find and write the scores first: on {', '.join(RECORDED_SETS)}; default all",
    )
    arguments = parser.parse_args()
    try:
        if arguments.judge is not None:
            record_scores(arguments.file, arguments.judge or RECORDED_SETS)
        print(describe(arguments.file))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"training.record: {error}") from error


if __name__ == "__main__":
    main()
