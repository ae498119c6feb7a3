"""Prompts made from true masks: clicks, boxes, and the clicks that correct a wrong mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from model.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING

Bool = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of equal length, over several images.

    Attributes:
        image_index: B, which image of the batch each prompt is on.
        point_coords: B x N x 2, (x, y) in pixels of the input frame.
        point_labels: B x N, as ``model.types.Prompt.point_labels``.
    """

    image_index: Tensor
    point_coords: Tensor
    point_labels: Tensor

    def with_click(self, click: Tensor, label: Tensor) -> PromptBatch:
        """The same prompts, each with one more click (B x 2, and B labels)."""
        return PromptBatch(
            self.image_index,
            torch.cat([self.point_coords, click[:, None]], dim=1),
            torch.cat([self.point_labels, label[:, None]], dim=1),
        )

    def select(self, chosen: Tensor) -> PromptBatch:
        """The prompts at the given indices."""
        return PromptBatch(
            self.image_index[chosen], self.point_coords[chosen], self.point_labels[chosen]
        )


def click_inside(rng: np.random.Generator, mask: Bool) -> tuple[int, int]:
    """A random pixel (x, y) of a mask, rather inside than at its edge."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    cut = np.pad(mask[top : top + height, left : left + width], 1).view(np.uint8)
    depth = cv2.distanceTransform(cut, cv2.DIST_L2, 3)[1:-1, 1:-1]
    ys, xs = np.nonzero(depth)
    # the better of two: people click inside, but not in the exact middle
    first, second = rng.integers(len(ys), size=2)
    chosen = first if depth[ys[first], xs[first]] > depth[ys[second], xs[second]] else second
    return left + int(xs[chosen]), top + int(ys[chosen])


def clicks_of_both_signs(
    rng: np.random.Generator, mask: Bool, count: int
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """``count`` clicks, the first inside the mask, the others inside it or near it."""
    coords, labels = [click_inside(rng, mask)], [FOREGROUND]
    for _ in range(count - 1):
        outside = _click_near(rng, mask) if rng.random() < 0.4 else None
        coords.append(outside or click_inside(rng, mask))
        labels.append(BACKGROUND if outside else FOREGROUND)
    return np.array(coords, np.float32), np.array(labels, np.int64)


def _click_near(rng: np.random.Generator, mask: Bool) -> tuple[int, int] | None:
    """A random pixel outside the mask, no further from it than its own size."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    for _ in range(8):
        x = int(left + width * rng.uniform(-0.4, 1.4))
        y = int(top + height * rng.uniform(-0.4, 1.4))
        if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and not mask[y, x]:
            return x, y
    return None


def box_around(rng: np.random.Generator, mask: Bool) -> FloatArray:
    """The two corners of the mask's bounding box, 2 x 2; half of the time drawn carelessly."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    corners = np.array([[left, top], [left + width - 1, top + height - 1]], np.float32)
    if rng.random() < 0.5:
        corners += rng.normal(0, 0.06, (2, 2)).clip(-0.15, 0.15) * [width, height]
    return corners.clip(0, [mask.shape[1] - 1, mask.shape[0] - 1]).astype(np.float32)


CLICK_LABELS = np.array([FOREGROUND, PADDING], np.int64)
BOX_LABELS = np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], np.int64)


def correction_clicks(predicted: Tensor, target: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """A click in the largest errors of each mask.

    Args:
        predicted: B x h x w bool.
        target: B x h x w bool.
        scale: pixels of the input frame to one pixel of the masks.

    Returns:
        Clicks, B x 2 (x, y) in the input frame, and labels, B: foreground where the mask missed
        the object, background where it went beyond it.
    """
    errors = (predicted != target).float()
    # Pixels deep in a wrong region are likelier, and a perfect mask is clicked anywhere inside.
    depth = F.avg_pool2d(errors[:, None], 5, stride=1, padding=2)[:, 0]
    inside = 1e-6 * target.float() + 1e-12
    weights = (errors * depth**3 + inside).flatten(1)
    chosen = torch.multinomial(weights, 1)[:, 0]
    width = predicted.shape[-1]
    cell = torch.stack([chosen % width, chosen // width], dim=1)
    labels = target.flatten(1).gather(1, chosen[:, None])[:, 0].long()
    return (cell * scale + (scale - 1) / 2).float(), labels
