"""Scores of a checkpoint, by the protocol of interactive segmentation.

    python -m training.evaluate --photographs --scenes 100
    python -m training.evaluate DIR instances.json export.json --images pictures
    python -m training.evaluate DIR --checkpoint mobile_sam.pt --sheet worst_and_best.png

DIR holds images/NAME.jpg (or .png and others) and masks/NAME.png of the same size: 0 is
background, every other value is one object. A JSON file is a COCO file of object instances, or
Label Studio's export in the JSON format.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model.predictor import Predictor, load_predictor
from model.weights import BUILTIN_PATH
from training.contact_sheet import Extremes, draw_reliability, draw_sheet, save
from training.evaluation_datasets import open_dataset, synthetic_scenes
from training.labelled_images import LabelledDataset, sample
from training.photographs import coins, photographs
from training.protocol import STRATEGIES, Strategy, judge, served
from training.scores import (
    Score,
    mean_of_rows,
    reliability,
    reliability_table,
    summarise,
    table,
)


def evaluate(
    predictor: Predictor,
    dataset: LabelledDataset,
    strategy: Strategy = served,
    extremes: Extremes | None = None,
) -> list[Score]:
    """Judge a predictor on every object of a dataset; shows a progress bar.

    Args:
        predictor: or anything with its methods.
        dataset: the objects to find.
        strategy: how clicks become answers; the service's, unless others are compared.
        extremes: gets every trial, for the contact sheet.
    """
    scores = []
    for labelled in tqdm(dataset, desc=dataset.name, unit="image", mininterval=1):
        embedding = predictor.embed(labelled.image)
        for name, mask in labelled.masks.items():
            full_name = f"{labelled.name}, {name}"
            trial = judge(
                predictor, embedding, labelled.image, mask, full_name, strategy, labelled.unknown
            )
            scores.append(Score.of(trial, labelled.kinds.get(name, "")))
            if extremes is not None:
                extremes.offer(trial)
    return scores


def main() -> None:
    """The command."""
    arguments = _parse()
    try:
        datasets = chosen_datasets(arguments)
        predictor = load_predictor(arguments.checkpoint, engine="torch", precision="fp32")
        _report(predictor, datasets, arguments)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"training.evaluate: {error}") from error


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, default=BUILTIN_PATH, help="default: built-in")
    parser.add_argument(
        "--strategy",
        choices=[*STRATEGIES, "all"],
        nargs="+",
        default=["served"],
        help="how clicks become answers, the pictures show the first; default: as the service does",
    )
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--sheet", type=Path, help="draw the worst and the best cases")
    parser.add_argument("--reliability", type=Path, help="draw actual over predicted IoU")
    return parser.parse_args()


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that :func:`chosen_datasets` reads."""
    parser.add_argument(
        "paths", type=Path, nargs="*", metavar="PATH", help="labelled pictures: DIR or JSON file"
    )
    parser.add_argument("--images", type=Path, help="folder of the pictures that JSON files name")
    parser.add_argument(
        "--unknown", type=int, help="value in masks/ of pixels that count as neither, such as 255"
    )
    parser.add_argument("--photographs", action="store_true", help="the photographs")
    parser.add_argument("--scenes", type=int, default=0, help="so many synthetic scenes")
    parser.add_argument(
        "--pictures", type=int, help="at most so many of each PATH, the same ones each time"
    )
    parser.add_argument("--objects", type=int, help="at most so many of each picture of a PATH")


def chosen_datasets(arguments: argparse.Namespace) -> list[LabelledDataset]:
    """The datasets that the flags name.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: the flags name no dataset, or one has a mistake.
    """
    if not (arguments.paths or arguments.photographs or arguments.scenes > 0):
        raise ValueError("nothing to judge by: give a PATH, --photographs or --scenes N")
    datasets = [
        sample(
            open_dataset(path, arguments.images, arguments.unknown),
            arguments.pictures,
            arguments.objects,
        )
        for path in arguments.paths
    ]
    if arguments.photographs:
        datasets += [photographs(), coins()]
    if arguments.scenes > 0:
        datasets.append(synthetic_scenes(arguments.scenes))
    return datasets


def _report(
    predictor: Predictor, datasets: Iterable[LabelledDataset], arguments: argparse.Namespace
) -> None:
    chosen = arguments.strategy
    names = list(STRATEGIES) if "all" in chosen else chosen
    extremes = Extremes()
    rows: list[tuple[str, Mapping[str, float]]] = []
    wholes: dict[str, list[Mapping[str, float]]] = {name: [] for name in names}
    scores, details = [], []
    for dataset in datasets:
        for name in names:
            is_first = name == names[0]  # the one that the pictures show
            own = evaluate(predictor, dataset, STRATEGIES[name], extremes if is_first else None)
            if not own:
                raise ValueError(f"{dataset.name} has no object to find")
            row = summarise(own)
            rows += [(f"{dataset.name}, {name}", row), *_rows_of_kinds(own)]
            wholes[name].append(row)
            details.append(_details(dataset.name, name, own, row))
            scores += own if is_first else []
    for name, whole in wholes.items():
        if len(whole) > 1:
            rows.append((f"mean of {len(whole)} datasets, {name}", mean_of_rows(whole)))
    bins = reliability(scores)
    print(f"\n{predictor.checkpoint.path}\n\n{table(rows)}\n\n{reliability_table(bins)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(details, indent=2))
    if arguments.sheet:
        save(draw_sheet(extremes), arguments.sheet)
    if arguments.reliability:
        save(draw_reliability(bins), arguments.reliability)


def _rows_of_kinds(scores: Sequence[Score]) -> list[tuple[str, Mapping[str, float]]]:
    """A row for each kind of object where there are several."""
    kinds = sorted({score.kind for score in scores})
    if len(kinds) < 2:
        return []
    return [
        (f"- {kind or 'no label'}", summarise([score for score in scores if score.kind == kind]))
        for kind in kinds
    ]


def _details(
    dataset: str, strategy: str, scores: Sequence[Score], row: dict[str, float]
) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "strategy": strategy,
        "scores": row,
        "reliability": [dataclasses.asdict(one) for one in reliability(scores)],
        "objects": [dataclasses.asdict(score) for score in scores],
    }


if __name__ == "__main__":
    main()
