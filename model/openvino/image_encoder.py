"""The image encoder: pixels to the image embedding.

After MobileSAM (https://arxiv.org/abs/2306.14289), figure 2, and SAM's neck.
"""

from __future__ import annotations

import numpy as np
import openvino
from openvino import opset13 as opset

from model.architecture import PIXEL_MEAN, PIXEL_STD
from model.checkpoint import Parameters
from model.openvino.operations import (
    IMAGE_NORM_EPSILON,
    Grid,
    Node,
    constant,
    convolution,
    graph,
    layer_norm,
    parameter,
    parts,
    project,
    reshape,
    to_image,
    to_tokens,
    transpose,
)
from model.openvino.part import Part
from model.openvino.tiny_vit import tiny_vit


def image_encoder(parameters: Parameters) -> openvino.Model:
    """The graph of the image encoder.

    Inputs: ``frame``, 1 x S x S x 3 uint8 RGB with the image at the top left and anything beyond;
    ``input_size``, the image's (h, w), int64. Output: ``features``, 1 x C x S/16 x S/16.
    """
    config, part = parameters.config, Part(parameters.arrays, "image_encoder")
    size, grid = config.image_size, (config.grid_size, config.grid_size)
    frame = parameter("frame", (1, size, size, 3), np.uint8)
    input_size = parameter("input_size", (2,), np.int64)
    tokens = tiny_vit(_preprocess(frame, input_size, size), part["trunk"], config)
    tokens = _neck(tokens, part["neck"], grid)
    features = reshape(transpose(tokens, 0, 2, 1), 1, -1, *grid)
    return graph("image_encoder", [frame, input_size], {"features": features})


def _preprocess(frame: Node, input_size: Node, size: int) -> Node:
    """Normalised pixels, 1 x 3 x S x S. Beyond the image is zero and not black, as SAM pads."""
    height, width = parts(input_size, 0, 2)
    positions = np.arange(size)
    rows = opset.less(opset.constant(positions.reshape(1, -1, 1, 1)), height)
    columns = opset.less(opset.constant(positions.reshape(1, 1, -1, 1)), width)
    inside = opset.convert(opset.logical_and(rows, columns), "f32")
    pixels = opset.subtract(opset.convert(frame, "f32"), constant(PIXEL_MEAN))
    pixels = opset.multiply(pixels, constant(1 / np.array(PIXEL_STD)))
    return transpose(opset.multiply(pixels, inside), 0, 3, 1, 2)


def _neck(tokens: Node, part: Part, grid: Grid) -> Node:
    """Tokens of the trunk, 1 x HW x C', to tokens of the embedding, 1 x HW x C."""
    x = project(tokens, part[0].weight[:, :, 0, 0])  # a convolution of 1 x 1
    x = layer_norm(x, part[1], IMAGE_NORM_EPSILON)
    x = convolution(to_image(x, grid), part[2].weight, padding=1)
    return layer_norm(to_tokens(x), part[3], IMAGE_NORM_EPSILON)
