"""A checkpoint as OpenVINO models: ``python -m model.network.convert CHECKPOINT FOLDER``.

A process of its own, so that the one that serves never loads torch. What it writes:

| file                        | inputs -> outputs                                               |
|-----------------------------|-----------------------------------------------------------------|
| encoder.xml, .bin           | frame 1 x S x S x 3 uint8, input_size 2 (h, w) -> features      |
| decoder.xml, .bin           | image_tokens, point_coords, point_labels -> keys, kernels, IoU  |
| upscaling.xml, .bin         | keys, kernels -> masks                                          |
| mask_prompt.xml, .bin       | mask_inputs -> what they add to image_tokens                    |
| reference.npz               | what torch computes in fp32: see ``model/reference.py``         |
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
import torch
from torch import Tensor, nn

from model import reference
from model.architecture import MASK_TOKENS
from model.network.checkpoint import load_network
from model.network.folded_decoder import FoldedDecoder, FoldedUpscaling, MaskPromptTokens
from model.network.mobile_sam import MobileSAM


def main() -> int:
    """Convert; the status is 1, with one sentence as the last line, where that cannot be done."""
    parser = argparse.ArgumentParser(description="Convert a checkpoint for OpenVINO.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path, help="an empty one, for the files")
    options = parser.parse_args()
    try:
        convert(options.checkpoint, options.folder)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def convert(checkpoint: Path, folder: Path) -> None:
    """Write the files above into a folder.

    Raises:
        ValueError: the file is no checkpoint of this architecture.
    """
    network = load_network(checkpoint)
    config = network.config
    size, width = config.image_size, config.embedding_width
    tokens = (size // 16) ** 2
    with torch.no_grad():
        _save(
            folder / "encoder.xml",
            FrameEncoder(network),
            {
                "frame": torch.zeros(1, size, size, 3, dtype=torch.uint8),
                "input_size": torch.tensor([size, size]),
            },
            [(1, size, size, 3), (2,)],
        )
        _save(
            folder / "decoder.xml",
            FoldedDecoder(network),
            {
                "image_tokens": torch.zeros(1, tokens, width),
                "point_coords": torch.zeros(2, 3, 2),
                "point_labels": torch.zeros(2, 3, dtype=torch.int64),
            },
            [(-1, tokens, width), (-1, -1, 2), (-1, -1)],
        )
        _save(
            folder / "upscaling.xml",
            FoldedUpscaling(network),
            {
                "keys": torch.zeros(2, tokens, width),
                "kernels": torch.zeros(2, MASK_TOKENS, width // 8),
            },
            [(-1, tokens, width), (-1, MASK_TOKENS, width // 8)],
        )
        _save(
            folder / "mask_prompt.xml",
            MaskPromptTokens(network),
            {"mask_inputs": torch.zeros(2, 1, size // 4, size // 4)},
            [(-1, 1, size // 4, size // 4)],
        )
        np.savez(folder / reference.FILE_NAME, **_reference(network))  # type: ignore[arg-type]


class FrameEncoder(nn.Module):
    """The image encoder from pixels on: normalisation and padding are part of the graph."""

    def __init__(self, network: MobileSAM) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, input_size: Tensor) -> Tensor:
        """Embed the image at the top left of a frame.

        Args:
            frame: 1 x S x S x 3 uint8, RGB; anything beyond the image.
            input_size: the image's (h, w).

        Returns:
            1 x C x S/16 x S/16.
        """
        network = self.network
        images = (frame.permute(0, 3, 1, 2) - network.pixel_mean) / network.pixel_std
        positions = torch.arange(network.config.image_size)
        inside = (positions < input_size[0]).unsqueeze(1) & (positions < input_size[1])
        # SAM pads after normalising: beyond the image is zero, not black
        features: Tensor = network.image_encoder(images * inside)
        return features


def _save(
    path: Path, module: nn.Module, example: dict[str, Tensor], shapes: list[tuple[int, ...]]
) -> None:
    # traced here, as convert_model would also run the trace twice more to check it
    traced = torch.jit.trace(module.eval(), tuple(example.values()), check_trace=False)  # type: ignore[no-untyped-call]
    inputs = list(zip(example, shapes, strict=True))
    model = openvino.convert_model(traced, example_input=tuple(example.values()), input=inputs)
    openvino.save_model(model, path, compress_to_fp16=False)


def _reference(network: MobileSAM) -> dict[str, npt.NDArray[np.float32]]:
    """The answers of ``network`` to the questions of ``model/reference.py``."""
    size = network.config.image_size
    image = torch.from_numpy(reference.image(size)).permute(2, 0, 1).unsqueeze(0)
    features = network.image_encoder(network.preprocess(image))
    coords, labels = map(torch.from_numpy, reference.points(size))
    masks, ious = network.decode(features, coords, labels, None)
    refined, _ = network.decode(features, coords, labels, masks[:, :1])
    return {
        "features": features.numpy(),
        "low_res_masks": masks.numpy(),
        "iou_predictions": ious.numpy(),
        "refined_masks": refined.numpy(),
    }


if __name__ == "__main__":
    sys.exit(main())
