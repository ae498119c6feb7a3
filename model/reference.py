"""Questions whose answers are known: whether an engine computes what torch does in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from model.engines import Engine

FILE_NAME = "reference.npz"

# Relative errors, in the norm of all values. Reduced precision errs by 0.01 or so; a wrong graph,
# a wrong kernel or other weights by 0.1 and more. What leads to the IoU is always computed in fp32.
_TOLERANCE = 0.05
_FP32_TOLERANCE = 1e-3


class WrongAnswerError(Exception):
    """An engine does not compute what torch does."""


def image(size: int) -> npt.NDArray[np.uint8]:
    """A picture of discs on a slope, size * 3 // 4 x size x 3: padding is part of the question."""
    height = size * 3 // 4
    y, x = np.mgrid[:height, :size].astype(np.float32) / size
    picture = 255 * np.stack([x, y, 1 - x], axis=-1)
    for centre_x, centre_y, radius, colour in (
        (0.30, 0.30, 0.15, (230, 40, 40)),
        (0.65, 0.45, 0.20, (30, 160, 60)),
        (0.60, 0.40, 0.06, (250, 250, 250)),
    ):
        picture[(x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2] = colour
    return picture.astype(np.uint8)


def points(size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """``point_coords`` and ``point_labels`` of two prompts: a click, and a box around a disc."""
    coords = np.array([[[0.3, 0.3], [0, 0]], [[0.45, 0.25], [0.85, 0.65]]], np.float32)
    return coords * size, np.array([[1, -1], [2, 3]], dtype=np.int64)


def warm_up(engine: Engine) -> None:
    """Ask, and take any answer."""
    features = engine.encode(image(engine.image_size))
    engine.decode(features, *points(engine.image_size), None)


def check(engine: Engine, path: Path) -> None:
    """Ask, and compare the answers with the known ones.

    Args:
        path: the file of the known answers.

    Raises:
        WrongAnswerError: an answer is off; says which and by how much.
    """
    size = engine.image_size
    with np.load(path) as expected:
        features = expected["features"]
        found = {"features": engine.encode(image(size))}
        found["low_res_masks"], found["iou_predictions"] = engine.decode(
            features, *points(size), None
        )
        masks = expected["low_res_masks"][:, :1]
        found["refined_masks"], _ = engine.decode(features, *points(size), masks)
        for name, array in found.items():
            tolerance = _FP32_TOLERANCE if name == "iou_predictions" else _TOLERANCE
            error = np.linalg.norm(array - expected[name]) / np.linalg.norm(expected[name])
            if not error < tolerance:  # NaN too
                raise WrongAnswerError(
                    f"{name} is off by {error:.2g}, at most {tolerance} is allowed"
                )
