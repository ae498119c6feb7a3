"""What the segmentation of one image gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model import overlay
from model.cleanup import box_around
from model.files import write_atomically
from model.formats import polygons
from model.formats.polygons import Polygon
from model.packed_mask import PackedMask
from model.types import MaskPrediction, Prompt

# How far a polygon may run beside the edge of its mask, pixels.
POLYGON_TOLERANCE = 1.0


@dataclass(frozen=True, eq=False)
class Results:
    """The masks of N objects in one image. N may be 0.

    Attributes:
        image: H x W x 3 uint8 RGB.
        path: the path or the URL of the image, None for an array.
        boxes: N x 4 float32 (x0, y0, x1, y1), the box around each mask in pixels: x1 - x0 is its
            number of columns. Four zeros where the mask is empty.
        scores: N float32, the IoU that the network predicts for each mask, about 0 to 1.
        low_res_masks: N x S/4 x S/4 float32 logits. They can be the ``masks`` of the next call for
            the same image.
        prompts: what was asked, one for each object; empty for everything in the image.
    """

    image: npt.NDArray[np.uint8]
    path: str | None
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    low_res_masks: npt.NDArray[np.float32]
    prompts: tuple[Prompt, ...]
    _packed: tuple[PackedMask, ...]

    @classmethod
    def of(
        cls,
        image: npt.NDArray[np.uint8],
        path: str | None,
        predictions: Iterable[MaskPrediction],
        prompts: Sequence[Prompt] = (),
        *,
        low_res: int,
    ) -> Results:
        """Collect predictions. Each is packed before the next is asked for, which saves memory.

        Args:
            image, path, prompts: see the class.
            predictions: one for each object.
            low_res: S/4, the side of a low-res mask.
        """
        packed, boxes, scores, low_res_masks = [], [], [], []
        for prediction in predictions:
            packed.append(PackedMask.pack(prediction.mask))
            x, y, width, height = box_around(prediction.mask) or (0, 0, 0, 0)
            boxes.append((x, y, x + width, y + height))
            scores.append(prediction.iou_prediction)
            low_res_masks.append(prediction.low_res_mask)
        return cls(
            image,
            path,
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32),
            np.array(low_res_masks, np.float32).reshape(-1, low_res, low_res),
            tuple(prompts),
            tuple(packed),
        )

    def __len__(self) -> int:
        """The number of objects."""
        return len(self._packed)

    def __repr__(self) -> str:
        """One line."""
        height, width = self.original_size
        return f"Results({self.path or 'array'}, {width} x {height} pixels, {len(self)} objects)"

    @property
    def original_size(self) -> tuple[int, int]:
        """(H, W) of the image, pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def masks(self) -> npt.NDArray[np.bool_]:
        """N x H x W, True on the object. :meth:`each_mask` needs less memory."""
        masks = np.empty((len(self), *self.original_size), dtype=np.bool_)
        for index, mask in enumerate(self.each_mask()):
            masks[index] = mask
        return masks

    def each_mask(self) -> Iterator[npt.NDArray[np.bool_]]:
        """The masks one at a time, H x W."""
        return (packed.unpack() for packed in self._packed)

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """N, the number of pixels of each mask."""
        return np.array([packed.area for packed in self._packed], dtype=np.int64)

    @cached_property
    def polygons(self) -> list[list[Polygon]]:
        """The polygons of each object, one for each part of its mask, with their holes."""
        return [polygons.trace(mask, POLYGON_TOLERANCE) for mask in self.each_mask()]

    def plot(self) -> npt.NDArray[np.uint8]:
        """The image with masks and prompts drawn on it, H x W x 3 uint8 RGB."""
        return overlay.draw(self.image, self.each_mask(), self.prompts)

    def save(self, path: str | PathLike[str]) -> None:
        """Write :meth:`plot` to an image file. The name's suffix says which format.

        Raises:
            ValueError: Pillow knows no format of this suffix.
            OSError: the file cannot be written.
        """
        image_format = format_of(path)
        with write_atomically(Path(path), mode=0o644) as file:
            Image.fromarray(self.plot()).save(file, image_format)


def format_of(path: str | PathLike[str]) -> str:
    """The name that Pillow has for the format of an image file that is to be written.

    Raises:
        ValueError: Pillow writes no format of this suffix.
    """
    suffix = Path(path).suffix.lower()
    image_format = Image.registered_extensions().get(suffix)
    if image_format not in Image.SAVE:
        raise ValueError(f"{path} has no suffix of an image format, such as .png or .jpg")
    return image_format
