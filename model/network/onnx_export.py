"""The network as two ONNX files, for other programs. Needs the packages onnx and onnxscript."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.files import write_atomically
from model.network.checkpoint import load_network
from model.network.mobile_sam import MobileSAM

# Old enough for onnxruntime 1.14 of 2023.
_OPSET = 18


class Encoder(nn.Module):
    """The image encoder with its preprocessing."""

    def __init__(self, network: MobileSAM) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, input_size: Tensor) -> Tensor:
        """Encode an image.

        Args:
            frame: 1 x S x S x 3 uint8 RGB, the image at the top left and anything beyond.
            input_size: the image's (h, w), int64.

        Returns:
            1 x C x S/16 x S/16.
        """
        images = self.network.preprocess(frame.permute(0, 3, 1, 2).float())  # 1 x 3 x S x S
        positions = torch.arange(self.network.config.image_size)
        rows = (positions < input_size[0]).reshape(1, 1, -1, 1)
        columns = (positions < input_size[1]).reshape(1, 1, 1, -1)
        embeddings: Tensor = self.network.image_encoder(images * (rows & columns))
        return embeddings


class Decoder(nn.Module):
    """Prompt encoder and mask decoder, with the inputs of SAM's own ONNX export."""

    def __init__(self, network: MobileSAM) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks for B prompts on one image.

        Args:
            image_embeddings: 1 x C x S/16 x S/16.
            point_coords: B x N x 2, (x, y) in pixels of the input frame.
            point_labels: B x N float32, as ``Prompt.point_labels``.
            mask_input: B x 1 x S/4 x S/4 logits; any numbers where ``has_mask_input`` is 0.
            has_mask_input: one float32, 1 or 0.

        Returns:
            low_res_masks, B x 4 x S/4 x S/4 logits, and iou_predictions, B x 4.
        """
        prompts, decoder = self.network.prompt_encoder, self.network.mask_decoder
        sparse_embeddings = prompts.embed_points(point_coords, point_labels)
        no_mask = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        added: Tensor = prompts.mask_downscaling(mask_input)
        dense_embeddings = torch.where(has_mask_input.reshape(1, 1, 1, 1) > 0, added, no_mask)
        answers: tuple[Tensor, Tensor] = decoder(
            image_embeddings, prompts.image_pe(), sparse_embeddings, dense_embeddings
        )
        return answers


def write_onnx(checkpoint: Path, encoder: Path, decoder: Path) -> None:
    """Write both files.

    Args:
        checkpoint: of either format.
        encoder, decoder: the files to write.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ValueError: the file is no checkpoint.
        OSError: a file cannot be written.
    """
    network = load_network(checkpoint)
    config = network.config
    side, grid = config.image_size, config.grid_size
    _write(
        encoder,
        Encoder(network),
        {
            "frame": torch.zeros(1, side, side, 3, dtype=torch.uint8),
            "input_size": torch.tensor([side, side]),
        },
        ["image_embeddings"],
        {},
    )
    prompts, points = 2, 3  # neither may be 1, which would be taken for a constant
    _write(
        decoder,
        Decoder(network),
        {
            "image_embeddings": torch.zeros(1, config.embedding_width, grid, grid),
            "point_coords": torch.zeros(prompts, points, 2),
            "point_labels": torch.zeros(prompts, points),
            "mask_input": torch.zeros(prompts, 1, 4 * grid, 4 * grid),
            "has_mask_input": torch.zeros(1),
        },
        ["low_res_masks", "iou_predictions"],
        {
            "point_coords": {0: "prompts", 1: "points"},
            "point_labels": {0: "prompts", 1: "points"},
            "mask_input": {0: "prompts"},
        },
    )


def _write(
    path: Path,
    part: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: list[str],
    sizes: Mapping[str, Mapping[int, str]],
) -> None:
    """Write one file. ``sizes`` names the axes whose length is not fixed."""
    axes: dict[str, Any] = {
        name: {axis: torch.export.Dim(size) for axis, size in sizes.get(name, {}).items()} or None
        for name in inputs
    }
    with warnings.catch_warnings():  # the exporter's own, of which users can mend nothing
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            part.eval(),
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=outputs,
            opset_version=_OPSET,
            dynamo=True,
            dynamic_shapes=axes,
            verbose=False,
        )
    assert program is not None
    with write_atomically(path, mode=0o644) as file:
        file.write(program.model_proto.SerializeToString())
