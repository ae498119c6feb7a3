"""A checkpoint in the format of the published mobile_sam.pt, with values from a fixed recipe.

Speed does not depend on the values, and the published file is not available everywhere.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Names and shapes of the published checkpoint.
_KEYS = Path(__file__).parents[1] / "tests" / "data" / "mobile_sam_keys.json"


def seeded() -> dict[str, Tensor]:
    """The state dict from which the numbers in tests/data/mobile_sam_golden.npz were computed."""
    shapes: dict[str, list[int]] = json.loads(_KEYS.read_text())
    return {
        key: torch.zeros((), dtype=torch.int64)
        if key.endswith("num_batches_tracked")
        else torch.from_numpy(np.asarray(_array(key, shape), dtype=np.float32))
        for key, shape in shapes.items()
    }


def with_smooth_masks() -> dict[str, Tensor]:
    """The same with masks that are blobs, as real masks are. The RLE of noise is far longer.

    The four pixels that the upscaling makes of each pixel are alike. The four masks are alike too,
    and all have a high predicted IoU: the work is the same whichever mask is chosen.
    """
    values = seeded()
    for layer in ("0", "3"):
        key = f"mask_decoder.output_upscaling.{layer}.weight"
        values[key] = values[key].mean(dim=(2, 3), keepdim=True).expand_as(values[key]).clone() * 2
    tokens = values["mask_decoder.mask_tokens.weight"]
    tokens[:] = tokens[1].clone()
    for key in [key for key in values if "output_hypernetworks_mlps.1." in key]:
        for mask in "023":
            values[key.replace("mlps.1", f"mlps.{mask}")] = values[key].clone()
    values["mask_decoder.iou_prediction_head.layers.2.weight"].zero_()
    values["mask_decoder.iou_prediction_head.layers.2.bias"].fill_(0.9)
    return values


def _array(key: str, shape: list[int]) -> npt.NDArray[np.floating[Any]]:
    """One tensor, drawn from the CRC-32 of its name."""
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    if key.endswith("positional_encoding_gaussian_matrix"):
        return noise
    if key.endswith("running_var"):
        return 1.0 + 0.5 * np.tanh(noise)
    if "attention_biases" in key:
        return 0.5 * noise
    if len(shape) == 1:
        return (1.0 if key.endswith("weight") else 0.0) + 0.1 * noise
    scaled: npt.NDArray[np.floating[Any]] = noise / np.sqrt(np.prod(shape[1:]))
    return scaled
