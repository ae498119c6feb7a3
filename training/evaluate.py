"""Scores of a checkpoint, by the protocol of interactive segmentation.

    python -m training.evaluate --photographs --scenes 100
    python -m training.evaluate DIR --checkpoint mobile_sam.pt --sheet worst_and_best.png

DIR holds images/NAME.jpg (or .png and others) and masks/NAME.png of the same size: 0 is
background, every other value one object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model.predictor import Predictor, load_predictor
from model.weights import BUILTIN_PATH
from training.contact_sheet import Extremes, draw_reliability, draw_sheet, save
from training.judging_sets import JudgingSet, drawn_scenes, folder
from training.photographs import coins, photographs
from training.protocol import STRATEGIES, Strategy, judge, served
from training.scores import Score, reliability, reliability_table, summarise, table


def evaluate(
    predictor: Predictor,
    judging_set: JudgingSet,
    strategy: Strategy = served,
    extremes: Extremes | None = None,
) -> list[Score]:
    """Judge a predictor on every object of a set, under a progress bar.

    Args:
        predictor: or anything with its methods.
        judging_set: what to find.
        strategy: how clicks become answers; that of the service unless others are compared.
        extremes: is offered every trial, for the contact sheet.
    """
    scores = []
    for labelled in tqdm(judging_set, desc=judging_set.name, unit="image", mininterval=1):
        embedding = predictor.embed(labelled.image)
        for name, mask in labelled.masks.items():
            full_name = f"{labelled.name}, {name}"
            trial = judge(predictor, embedding, labelled.image, mask, full_name, strategy)
            scores.append(Score.of(trial))
            if extremes is not None:
                extremes.offer(trial)
    return scores


def main() -> None:
    """The command."""
    arguments = _parse()
    try:
        sets = chosen_sets(arguments)
        predictor = load_predictor(arguments.checkpoint, engine="torch", precision="fp32")
        _report(predictor, sets, arguments)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"training.evaluate: {error}") from error


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_set_arguments(parser)
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


def add_set_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that :func:`chosen_sets` reads."""
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="labelled pictures")
    parser.add_argument("--photographs", action="store_true", help="the photographs")
    parser.add_argument("--scenes", type=int, default=0, help="so many drawn scenes")


def chosen_sets(arguments: argparse.Namespace) -> list[JudgingSet]:
    """The sets that the flags name.

    Raises:
        ValueError: they name none, or the folder is laid out otherwise.
    """
    if not (arguments.folder or arguments.photographs or arguments.scenes > 0):
        raise ValueError("nothing to judge on: give a folder, --photographs or --scenes N")
    sets = []
    if arguments.folder is not None:
        sets.append(folder(arguments.folder))
    if arguments.photographs:
        sets += [photographs(), coins()]
    if arguments.scenes > 0:
        sets.append(drawn_scenes(arguments.scenes))
    return sets


def _report(
    predictor: Predictor, sets: Iterable[JudgingSet], arguments: argparse.Namespace
) -> None:
    chosen = arguments.strategy
    names = list(STRATEGIES) if "all" in chosen else chosen
    extremes = Extremes()
    rows, scores, details = [], [], []
    for judging_set in sets:
        for name in names:
            is_first = name == names[0]  # the one that the pictures show
            own = evaluate(predictor, judging_set, STRATEGIES[name], extremes if is_first else None)
            row = summarise(own)
            rows.append((f"{judging_set.name}, {name}", row))
            details.append(_details(judging_set.name, name, own, row))
            scores += own if is_first else []
    bins = reliability(scores)
    print(f"\n{predictor.checkpoint.path}\n\n{table(rows)}\n\n{reliability_table(bins)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(details, indent=2))
    if arguments.sheet:
        save(draw_sheet(extremes), arguments.sheet)
    if arguments.reliability:
        save(draw_reliability(bins), arguments.reliability)


def _details(
    set_name: str, strategy: str, scores: Sequence[Score], row: dict[str, float]
) -> dict[str, Any]:
    return {
        "set": set_name,
        "strategy": strategy,
        "scores": row,
        "reliability": [dataclasses.asdict(one) for one in reliability(scores)],
        "objects": [dataclasses.asdict(score) for score in scores],
    }


if __name__ == "__main__":
    main()
