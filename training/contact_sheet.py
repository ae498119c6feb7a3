"""Pictures of an evaluation: the worst and the best objects, and how true predicted IoUs are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from model.types import FOREGROUND
from training.protocol import COUNTED_CLICKS, Answer, Trial, bounding_box
from training.scenes import Bool
from training.scores import BINS, Bin

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_PANEL = 220  # pixels, side
_CAPTION = 18
_GAP = 6
_TRUTH: Colour = (255, 255, 0)
_MASK: Colour = (30, 144, 255)
_ON_OBJECT: Colour = (0, 230, 0)
_ON_BACKGROUND: Colour = (255, 40, 40)
_INK: Colour = (230, 230, 230)
_PLOT = 320


class Extremes:
    """The worst and the best trials by their mean IoU after 1, 3 and 5 clicks."""

    def __init__(self, count: int = 8) -> None:
        self._count = count
        self._trials: list[Trial] = []  # worst first, at most twice ``count``

    def offer(self, trial: Trial) -> None:
        """Keep the trial if it is one of the worst or best so far."""
        self._trials = sorted([*self._trials, trial], key=_quality)
        if len(self._trials) > 2 * self._count:
            del self._trials[self._count]

    @property
    def worst(self) -> Sequence[Trial]:
        """The worst first; half of all trials where there are few."""
        return self._trials[: min(self._count, (len(self._trials) + 1) // 2)]

    @property
    def best(self) -> Sequence[Trial]:
        """The best first."""
        return self._trials[len(self.worst) :][::-1]


def draw_sheet(extremes: Extremes) -> Picture:
    """The worst cases in the left column, the best in the right one.

    Each row shows the answers after 1, 3 and 5 clicks and to the box. The true outline is yellow,
    the mask is blue. Clicks are green on the object and red beside it.

    Returns:
        H x W x 3 uint8 RGB.
    """
    columns = [_column("worst", extremes.worst), _column("best", extremes.best)]
    height = max(column.shape[0] for column in columns)
    return np.hstack([_padded(column, height, column.shape[1] + _GAP) for column in columns])


def draw_reliability(bins: Sequence[Bin]) -> Picture:
    """Mean actual IoU over mean predicted IoU of each bin; on the diagonal both are equal.

    Larger discs stand for more answers.

    Returns:
        H x W x 3 uint8 RGB.
    """
    edge, side = 40, _PLOT - 60
    plot = np.zeros((_PLOT, _PLOT, 3), np.uint8)

    def place(predicted: float, actual: float) -> tuple[int, int]:
        return edge + round(predicted * side), 20 + round((1 - actual) * side)

    for tick in range(0, BINS + 1, 2):
        share = tick / BINS
        cv2.line(plot, place(share, 0), place(share, 1), (60, 60, 60))
        cv2.line(plot, place(0, share), place(1, share), (60, 60, 60))
        _write(plot, f"{share:.1f}", (place(share, 0)[0] - 10, _PLOT - 24))
        _write(plot, f"{share:.1f}", (8, place(0, share)[1] + 4))
    cv2.line(plot, place(0, 0), place(1, 1), _TRUTH, 1, cv2.LINE_AA)
    most = max(one.answers for one in bins)
    for one in bins:
        radius = 2 + round(8 * (one.answers / most) ** 0.5)
        centre = place(min(1, max(0, one.predicted)), one.actual)
        cv2.circle(plot, centre, radius, _MASK, cv2.FILLED, cv2.LINE_AA)
    _write(plot, "actual over predicted IoU", (edge, _PLOT - 6))
    return plot


def save(picture: Picture, path: Path) -> None:
    """Write a picture; the file name's ending says the format."""
    Image.fromarray(picture).save(path)


def outlined(image: Picture, mask: Bool, colour: Colour = _TRUTH) -> Picture:
    """The picture with the mask's outline drawn on it, one pixel wide."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(image.copy(), contours, -1, colour, 1), np.uint8)


def _quality(trial: Trial) -> float:
    return sum(trial.iou_after(clicks) for clicks in COUNTED_CLICKS)


def _column(title: str, trials: Sequence[Trial]) -> Picture:
    width = 4 * (_PANEL + _GAP)
    heading = np.zeros((_CAPTION + _GAP, width, 3), np.uint8)
    _write(heading, title, (2, _CAPTION - 4))
    return np.vstack([heading, *map(_case, trials)])


def _case(trial: Trial) -> Picture:
    """One row: 1, 3, 5 clicks, box."""
    panels = [
        _panel(trial, trial.answers[clicks - 1], clicks, f"{clicks}:") for clicks in COUNTED_CLICKS
    ]
    panels.append(_panel(trial, trial.box, 0, "box:"))
    row = np.hstack([_padded(panel, panel.shape[0], _PANEL + _GAP) for panel in panels])
    name = np.zeros((_CAPTION, row.shape[1], 3), np.uint8)
    _write(name, trial.name, (2, _CAPTION - 5))
    return np.vstack([name, row])


def _panel(trial: Trial, answer: Answer, clicks: int, caption: str) -> Picture:
    scale = _PANEL / max(trial.target.shape)
    size = (
        max(1, round(trial.target.shape[1] * scale)),
        max(1, round(trial.target.shape[0] * scale)),
    )
    picture = np.asarray(cv2.resize(trial.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    target, mask = (
        np.asarray(cv2.resize(one.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)
        for one in (trial.target, answer.mask)
    )
    picture = picture.copy()
    picture[mask] = (0.5 * picture[mask] + 0.5 * np.array(_MASK)).astype(np.uint8)
    picture = outlined(picture, target)
    for x, y, label in trial.clicks[:clicks]:
        colour = _ON_OBJECT if label == FOREGROUND else _ON_BACKGROUND
        spot = (int((x + 0.5) * scale), int((y + 0.5) * scale))
        cv2.circle(picture, spot, 4, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, spot, 3, colour, cv2.FILLED, cv2.LINE_AA)
    if not clicks:
        x0, y0, x1, y1 = (int(side * scale) for side in bounding_box(trial.target))
        cv2.rectangle(picture, (x0, y0), (x1, y1), _ON_OBJECT, 1)
    panel = _padded(picture, picture.shape[0] + _CAPTION, _PANEL)
    text = f"{caption} IoU {answer.iou:.2f}, predicted {answer.iou_prediction:.2f}"
    _write(panel, text, (2, panel.shape[0] - 6))
    return panel


def _padded(picture: Picture, height: int, width: int) -> Picture:
    below, beside = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, ((0, below), (0, beside), (0, 0)))


def _write(picture: Picture, text: str, corner: tuple[int, int]) -> None:
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
