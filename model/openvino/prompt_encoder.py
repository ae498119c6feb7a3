"""The prompt encoder: points, box corners and mask prompts to tokens.

After SAM (https://arxiv.org/abs/2304.02643), figure 4 and appendix A. Boxes are two points
labelled 2 and 3, so points and boxes share one path.
"""

from __future__ import annotations

import math

import numpy as np
import openvino
from openvino import opset13 as opset

from model.architecture import POINT_KINDS, MobileSAMConfig
from model.checkpoint import Parameters
from model.openvino.operations import (
    IMAGE_NORM_EPSILON,
    Node,
    constant,
    convolution,
    gelu,
    graph,
    integer,
    layer_norm,
    matmul,
    parameter,
    project,
    reshape,
    transpose,
)
from model.openvino.part import Array, Part
from model.types import PADDING


def embed_points(coords: Node, labels: Node, part: Part, image_size: int) -> Node:
    """Points, B x N x 2 in pixels of the input frame, and labels, B x N, to B x N x C."""
    # 2 (p + 0.5) / S - 1: a coordinate names a pixel, and the embedding is of the pixel's centre
    centred = opset.add(
        opset.multiply(coords, constant(2 / image_size)), constant(1 / image_size - 1)
    )
    angles = opset.multiply(matmul(centred, constant(_frequencies(part))), constant(2 * math.pi))
    embeddings = opset.concat([opset.sin(angles), opset.cos(angles)], -1)
    is_padding = opset.unsqueeze(opset.equal(labels, integer(PADDING)), integer(-1))
    embeddings = opset.select(is_padding, constant(part["not_a_point_embed"].weight), embeddings)
    kinds = [part["point_embeddings"][kind].weight[0] for kind in range(POINT_KINDS)]
    table = np.stack([np.zeros_like(kinds[0]), *kinds])  # by label + 1, as padding is -1
    rows = opset.add(labels, integer(1))
    return opset.add(embeddings, opset.gather(constant(table), rows, integer(0)))


def image_pe(part: Part, config: MobileSAMConfig) -> Array:
    """Position embedding of the image tokens, HW x C: a constant of the graph."""
    side = config.grid_size
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    y, x = np.meshgrid(centres, centres, indexing="ij")
    positions = np.stack([x, y], axis=-1).reshape(-1, 2)
    angles = 2 * math.pi * ((2 * positions - 1) @ _frequencies(part))
    pe: Array = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)
    return pe


def no_mask(part: Part) -> Array:
    """What stands for a mask prompt in every image token where there is none, 1 x C."""
    return part["no_mask_embed"].weight


def mask_prompt(parameters: Parameters) -> openvino.Model:
    """The graph of mask prompts.

    Input: ``mask_inputs``, B x 1 x S/4 x S/4 logits. Output: ``added``, B x HW x C, what has to
    be added to image tokens for the mask decoder. The decoder adds ``no_mask`` to all image
    tokens, so that is subtracted here.
    """
    part = Part(parameters.arrays, "prompt_encoder")
    side, layers = parameters.config.image_size // 4, part["mask_downscaling"]
    masks = parameter("mask_inputs", (-1, 1, side, side))
    x = _halve(masks, layers[0], layers[1])
    x = _halve(transpose(x, 0, 3, 1, 2), layers[3], layers[4])
    last = layers[6]  # a convolution of 1 x 1
    x = project(x, last.weight[:, :, 0, 0], last.bias - no_mask(part)[0])
    tokens = reshape(x, 0, -1, last.bias.size)
    return graph("mask_prompt", [masks], {"added": tokens})


def _halve(x: Node, convolved: Part, norm: Part) -> Node:
    """B x C x H x W to B x H/2 x W/2 x C'."""
    x = convolution(x, convolved.weight, convolved.bias, stride=2)
    return gelu(layer_norm(transpose(x, 0, 2, 3, 1), norm, IMAGE_NORM_EPSILON))


def _frequencies(part: Part) -> Array:
    """2 x C/2, random, fixed by the checkpoint."""
    return part["pe_layer"].array("positional_encoding_gaussian_matrix")
