"""The values that pass between the packages, and their coordinate frames.

| frame          | unit and order                | who converts                       |
|----------------|-------------------------------|------------------------------------|
| Label Studio   | percent of the image, x and y | ``backend/regions/prompts.py``     |
| original image | pixels; points (x, y),        | the frame of every value below,    |
|                | sizes (H, W)                  | except ``DecoderInputs``           |
| input frame    | pixels of the S x S square    | ``model/transforms.py``            |
|                | that the network sees         |                                    |
| token grid     | S/16 x S/16, embeddings       | the network                        |
| low-res masks  | S/4 x S/4, logits             | ``model/transforms.py``            |

S is the engine's ``image_size``: 1024 for the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FOREGROUND = 1
BACKGROUND = 0
BOX_TOP_LEFT = 2
BOX_BOTTOM_RIGHT = 3
PADDING = -1

# From iou_predictions, B x 4, to the index of the wanted answer of each prompt, B.
Choose = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]

# low_res_masks, logits in the input frame, and iou_predictions, about 0 to 1. The methods of
# model.engines.Engine give the shapes.
DecoderOutputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def single_masks(iou_predictions: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """A ``Choose`` that wants the single mask of each prompt, the answer with index 0."""
    return np.zeros(len(iou_predictions), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """The image encoder's output for one image.

    Two embeddings with the same numbers are not equal: an embedding is equal to itself only.

    Attributes:
        features: 1 x C x S/16 x S/16. C is 256 for the published checkpoint.
        original_size: (H, W) of the image, pixels.
        image_version: names the version of the image file. The model does not read the name; its
            caller may compare names.
    """

    features: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    original_size: tuple[int, int]
    image_version: str = ""


@dataclass(frozen=True)
class Prompt:
    """Where one object is: points, a box, or both. An earlier mask of the object may be added.

    Attributes:
        point_coords: N x 2, (x, y) in pixels of the original image.
        point_labels: N int64: 1 foreground, 0 background, 2 box top-left, 3 box bottom-right,
            -1 padding.
        mask_input: S/4 x S/4 logits, the ``low_res_mask`` of an earlier prediction, or None.

    Raises:
        ValueError: there is no point, the shapes do not match, a label is unknown, a coordinate
            is not finite, or the box has one corner only.
    """

    point_coords: npt.NDArray[np.float32]
    point_labels: npt.NDArray[np.int64]
    mask_input: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        coords, labels = self.point_coords, self.point_labels
        if coords.ndim != 2 or coords.shape[1] != 2 or labels.shape != coords.shape[:1]:
            raise ValueError(
                "point_coords must be N x 2 and point_labels N,"
                f" not {coords.shape} and {labels.shape}"
            )
        if not len(labels):
            raise ValueError("a prompt needs at least one point or a box")
        if not np.isfinite(coords).all():
            raise ValueError("point_coords must be finite numbers")
        if labels.min() < PADDING or labels.max() > BOX_BOTTOM_RIGHT:
            raise ValueError(f"point_labels must be -1, 0, 1, 2 or 3, not {labels.tolist()}")
        top_left, bottom_right = (
            np.count_nonzero(labels == corner) for corner in (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)
        )
        if top_left != bottom_right or top_left > 1:
            raise ValueError("a prompt holds at most one box, with both of its corners")

    @classmethod
    def from_points(
        cls,
        points: Sequence[tuple[float, float]],
        labels: Sequence[int] | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> Prompt:
        """A prompt of points, with or without a box.

        Args:
            points: (x, y) in pixels of the original image.
            labels: 1 foreground or 0 background for each point; all foreground when None.
            box: (x0, y0, x1, y1), two opposite corners in any order.
        """
        coords = list(points)
        point_labels = [FOREGROUND] * len(coords) if labels is None else list(labels)
        if box is not None:
            x0, y0, x1, y1 = box
            coords += [(min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))]
            point_labels += [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]
        return cls(
            np.array(coords, dtype=np.float32).reshape(-1, 2),
            np.array(point_labels, dtype=np.int64),
        )

    @classmethod
    def from_box(cls, box: tuple[float, float, float, float]) -> Prompt:
        """A prompt of one box, (x0, y0, x1, y1): two opposite corners in any order."""
        return cls.from_points([], box=box)

    def first(self, count: int) -> Prompt:
        """The prompt as it was after its first ``count`` clicks. A box comes before all clicks.

        Raises:
            ValueError: no point is left.
        """
        kept = ~self._is_click
        kept[np.flatnonzero(self._is_click)[:count]] = True
        return Prompt(self.point_coords[kept], self.point_labels[kept], self.mask_input)

    @property
    def clicks(self) -> npt.NDArray[np.int64]:
        """The labels of the clicks, 1 or 0, in their order, without box corners and padding."""
        return self.point_labels[self._is_click]

    @property
    def _is_click(self) -> npt.NDArray[np.bool_]:
        return np.isin(self.point_labels, (FOREGROUND, BACKGROUND))

    @property
    def has_box(self) -> bool:
        """Whether box corners are among the points."""
        return bool((self.point_labels == BOX_TOP_LEFT).any())

    @property
    def is_ambiguous(self) -> bool:
        """Whether the prompt is one positive click: it may mean an object, a part or a subpart."""
        real = self.point_labels[self.point_labels != PADDING]
        return real.tolist() == [FOREGROUND] and self.mask_input is None


@dataclass(frozen=True)
class DecoderInputs:
    """B prompts on one image, in the input frame: what an engine decodes in one call.

    All prompts have the same number of points. All of them have a mask input, or none has.

    Attributes:
        features: 1 x C x S/16 x S/16, as ``ImageEmbedding.features``.
        point_coords: B x N x 2, (x, y) in pixels of the input frame.
        point_labels: B x N int64, as ``Prompt.point_labels``.
        mask_inputs: B x 1 x S/4 x S/4 logits, or None.
    """

    features: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    point_coords: npt.NDArray[np.float32]
    point_labels: npt.NDArray[np.int64]
    mask_inputs: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class LowResPrediction:
    """The network's answer for one object, before its mask is upsampled.

    Attributes:
        low_res_mask: S/4 x S/4 logits in the input frame; positive on the object.
        iou_prediction: the network's estimate of the IoU with the true mask, about 0 to 1.
    """

    low_res_mask: npt.NDArray[np.float32]
    iou_prediction: float


@dataclass(frozen=True)
class MaskPrediction:
    """The mask of one object.

    Attributes:
        mask: H x W, True on the object, at the size of the original image.
        low_res_mask: S/4 x S/4 logits in the input frame; positive on the object.
        iou_prediction: the network's estimate of the IoU with the true mask, about 0 to 1.
    """

    mask: npt.NDArray[np.bool_]
    low_res_mask: npt.NDArray[np.float32]
    iou_prediction: float
