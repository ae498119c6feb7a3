"""Converts between the original image and the input frame.

The image is scaled so that its longest side is ``image_size`` (S, 1024 for MobileSAM). The scaled
image lies at the top left of an S x S square. The rules are those of SAM's ResizeLongestSide and
postprocess_masks (segment_anything/utils/transforms.py and modeling/sam.py, Apache-2.0).
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

# Pixels of the input frame along the side of one token, and along the side of one low-res cell.
TOKEN_STRIDE = 16
LOW_RES_STRIDE = 4


def input_size(original_size: tuple[int, int], image_size: int) -> tuple[int, int]:
    """The size (H, W) that an image of ``original_size`` (H, W) has in the input frame, pixels.

    The longest side is ``image_size``. The other side is rounded and is at least 1.
    """
    scale = image_size / max(original_size)
    height, width = (max(1, int(side * scale + 0.5)) for side in original_size)
    return height, width


def low_res_size(original_size: tuple[int, int], image_size: int) -> tuple[int, int]:
    """The size (H, W) of the part of a low-res mask that shows the image, cells."""
    height, width = (-(-side // LOW_RES_STRIDE) for side in input_size(original_size, image_size))
    return height, width


def resize_image(image: npt.NDArray[np.uint8], image_size: int) -> npt.NDArray[np.uint8]:
    """Scale an image to the input frame.

    Args:
        image: H x W x 3 uint8 RGB.
        image_size: S.

    Returns:
        h x w x 3 uint8 RGB, its longest side S. The filter is Pillow's antialiased bilinear.
    """
    height, width = input_size((image.shape[0], image.shape[1]), image_size)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def points_to_input_frame(
    point_coords: npt.NDArray[np.float32], original_size: tuple[int, int], image_size: int
) -> npt.NDArray[np.float32]:
    """Scale points, ... x 2 (x, y), from original pixels to pixels of the input frame."""
    original_height, original_width = original_size
    height, width = input_size(original_size, image_size)
    scale = np.array([width / original_width, height / original_height], dtype=np.float32)
    return point_coords * scale


def upsample_to_frame(
    low_res_mask: npt.NDArray[np.float32], original_size: tuple[int, int], image_size: int
) -> npt.NDArray[np.float32]:
    """Upsample a low-res mask to the input frame: the first of SAM's two bilinear steps.

    Args:
        low_res_mask: S/4 x S/4 logits over the padded input frame.
        original_size: (H, W).
        image_size: S.

    Returns:
        h x w logits, the input frame without the padding.
    """
    height, width = input_size(original_size, image_size)
    frame: npt.NDArray[Any] = cv2.resize(
        low_res_mask, (image_size, image_size), interpolation=cv2.INTER_LINEAR
    )
    return frame[:height, :width]


def upsample_to_original(
    frame: npt.NDArray[np.float32], original_size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Upsample a mask to the original image: the second of SAM's two bilinear steps.

    Only the surroundings of positive pixels are upsampled, because no other pixel can become
    positive. This is faster: a large image often shows a small object.

    Args:
        frame: h x w logits, the input frame without the padding.
        original_size: (H, W).

    Returns:
        H x W, True where the bilinearly upsampled logit is positive.
    """
    mask = np.zeros(original_size, dtype=np.bool_)
    positive = frame > 0
    if not positive.any():
        return mask
    frame_rows, mask_rows = _cut(positive, 0, original_size)
    frame_columns, mask_columns = _cut(positive, 1, original_size)
    part = mask[mask_rows, mask_columns]
    logits = cv2.resize(
        np.ascontiguousarray(frame[frame_rows, frame_columns]),
        (part.shape[1], part.shape[0]),
        interpolation=cv2.INTER_LINEAR,
    )
    np.greater(logits, 0, out=part)
    return mask


def _cut(
    positive: npt.NDArray[np.bool_], axis: int, original_size: tuple[int, int]
) -> tuple[slice, slice]:
    """The rows (axis 0) or columns (axis 1) that hold all positive pixels.

    A cut must not shift the pixels. So the frame is cut only where a border between two of its
    pixels is also a border between two pixels of the original. For sides of 768 and 3000 that is
    every 32nd pixel of the frame. Sides without a common divisor are not cut.

    Returns:
        The slice of the frame, and the same part of the original.
    """
    side, original_side = positive.shape[axis], original_size[axis]
    steps = math.gcd(side, original_side)
    step, original_step = side // steps, original_side // steps
    indices = np.flatnonzero(positive.any(axis=1 - axis))
    # One pixel more on either side: bilinear weights reach half a pixel beyond the border.
    first = max(0, int(indices[0]) - 1) // step
    last = min(steps, (int(indices[-1]) + 1) // step + 1)
    return slice(step * first, step * last), slice(original_step * first, original_step * last)
