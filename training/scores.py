"""From single trials to a table: means, numbers of clicks, and how far to trust scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.protocol import COUNTED_CLICKS, MAX_CLICKS, TARGETS, Trial

BINS = 10  # of predicted IoU, 0 to 1


@dataclass(frozen=True)
class Score:
    """The numbers of a :class:`Trial`, without its pictures.

    Attributes:
        name: the names of the picture and of the object.
        kind: what the object is; empty where the dataset does not say.
        ious: after each of the first five clicks.
        box: IoU from the bounding box.
        box_and_click: IoU after the box and one click.
        oracle: IoU of the best of the three answers to one click.
        clicks_to: the number of clicks to each of ``TARGETS``; None where it was not reached.
        shown: (predicted, actual) IoU of the answers to the first five clicks and the box.
    """

    name: str
    kind: str
    ious: tuple[float, ...]
    box: float
    box_and_click: float
    oracle: float
    clicks_to: tuple[int | None, ...]
    shown: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, trial: Trial, kind: str = "") -> Score:
        """The numbers of one trial."""
        first = trial.answers[: max(COUNTED_CLICKS)]
        return cls(
            name=trial.name,
            kind=kind,
            ious=tuple(answer.iou for answer in first),
            box=trial.box.iou,
            box_and_click=trial.box_and_click.iou,
            oracle=trial.oracle,
            clicks_to=tuple(trial.clicks_to(target) for target in TARGETS),
            shown=tuple((answer.iou_prediction, answer.iou) for answer in (*first, trial.box)),
        )


@dataclass(frozen=True)
class Bin:
    """The answers with about the same predicted IoU: from ``low`` to a tenth above it.

    Attributes:
        low: the lower end. The first bin also holds answers below 0, the last those above 1.
        answers: the number of answers.
        predicted: mean predicted IoU.
        actual: mean actual IoU.
    """

    low: float
    answers: int
    predicted: float
    actual: float


def summarise(scores: Sequence[Score]) -> dict[str, float]:
    """One row of the table.

    Returns:
        Mean IoU: ``1_click``, ``3_clicks``, ``5_clicks``, ``box``, ``box_and_click``, and
        ``1_click_oracle`` for the best of the three answers to one click. Mean numbers of clicks:
        ``noc_80``, ``noc_85``, ``noc_90``; an object that is not found in 20 clicks counts as 20.
        Shares of objects not found: ``failed_80``, ``failed_85``, ``failed_90``. ``iou_error``:
        the mean absolute difference of predicted and actual IoU. ``objects``: their number.
    """
    row: dict[str, float] = {"objects": len(scores)}
    for clicks in COUNTED_CLICKS:
        name = f"{clicks}_click" if clicks == 1 else f"{clicks}_clicks"
        row[name] = _mean([score.ious[clicks - 1] for score in scores])
    row["1_click_oracle"] = _mean([score.oracle for score in scores])
    row["box"] = _mean([score.box for score in scores])
    row["box_and_click"] = _mean([score.box_and_click for score in scores])
    for index, target in enumerate(TARGETS):
        needed = [score.clicks_to[index] for score in scores]
        row[f"noc_{target:.0%}"[:-1]] = _mean([clicks or MAX_CLICKS for clicks in needed])
        row[f"failed_{target:.0%}"[:-1]] = _mean([clicks is None for clicks in needed])
    shown = [pair for score in scores for pair in score.shown]
    row["iou_error"] = _mean([abs(predicted - actual) for predicted, actual in shown])
    return row


def mean_of_rows(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of several rows, in which each row counts alike; ``objects`` is the sum."""
    mean = {key: _mean([row[key] for row in rows]) for key in rows[0]}
    return {**mean, "objects": sum(row["objects"] for row in rows)}


def reliability(scores: Sequence[Score]) -> list[Bin]:
    """Predicted and actual IoU of all answers that an annotator would have seen."""
    shown = np.array([pair for score in scores for pair in score.shown])
    numbers = np.clip((shown[:, 0] * BINS).astype(int), 0, BINS - 1)
    bins = []
    for number in np.unique(numbers):
        predicted, actual = shown[numbers == number].mean(0)
        count = int(np.count_nonzero(numbers == number))
        bins.append(Bin(number / BINS, count, round(predicted, 4), round(actual, 4)))
    return bins


def table(rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """The rows as a Markdown table with aligned columns."""
    header = [
        "", "objects", "1 click", "(oracle)", "3 clicks", "5 clicks", "box",
        "box + click", "NoC@80", "NoC@85", "NoC@90", "not at 90", "IoU error",
    ]  # fmt: skip
    lines = [header]
    for name, row in rows:
        ious = ("1_click", "1_click_oracle", "3_clicks", "5_clicks", "box", "box_and_click")
        nocs = ("noc_80", "noc_85", "noc_90")
        lines.append(
            [name, f"{row['objects']:.0f}"]
            + [f"{row[key]:.3f}" for key in ious]
            + [f"{row[key]:.2f}" for key in nocs]
            + [f"{row['failed_90']:.0%}", f"{row['iou_error']:.3f}"]
        )
    return _aligned(lines)


def reliability_table(bins: Sequence[Bin]) -> str:
    """The bins as a Markdown table."""
    lines = [["predicted", "answers", "mean predicted", "mean actual"]]
    for one in bins:
        span = f"{one.low:.1f} to {one.low + 1 / BINS:.1f}"
        lines.append([span, str(one.answers), f"{one.predicted:.3f}", f"{one.actual:.3f}"])
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "| "
        + " | ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    ]
    rule = "|".join(
        "-" * (width + 1) + ":" if column else "-" * (width + 2)
        for column, width in enumerate(widths)
    )
    return "\n".join([rows[0], f"|{rule}|", *rows[1:]])


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)
