"""The mask decoder: image tokens and prompt to masks and the IoU expected of each.

After SAM (https://arxiv.org/abs/2304.02643), figure 14. Two graphs, since reduced precision
changes masks little in the upscaling and much before.
"""

from __future__ import annotations

import numpy as np
import openvino
from openvino import opset13 as opset

from model.architecture import MASK_TOKENS
from model.checkpoint import Parameters
from model.openvino.operations import (
    IMAGE_NORM_EPSILON,
    Node,
    constant,
    gelu,
    graph,
    integer,
    integers,
    layer_norm,
    matmul,
    mlp,
    parameter,
    parts,
    project,
    reshape,
    transpose,
)
from model.openvino.part import Array, Part
from model.openvino.prompt_encoder import embed_points, image_pe, no_mask
from model.openvino.two_way_transformer import Image, two_way_transformer


def mask_decoder(parameters: Parameters) -> openvino.Model:
    """The graph of prompt encoder and mask decoder up to the upscaling.

    Inputs: ``image_tokens``, B x HW x C, or batch 1 for B prompts on one image: the image
    embedding, and what ``mask_prompt`` gives added where there are mask prompts;
    ``point_coords``, B x N x 2, (x, y) in pixels of the input frame; ``point_labels``, B x N
    int64. Outputs: ``keys``, B x HW x C, and ``kernels``, B x 4 x C/8, for ``mask_upscaling``;
    ``iou_predictions``, B x 4.
    """
    config = parameters.config
    prompts = Part(parameters.arrays, "prompt_encoder")
    part = Part(parameters.arrays, "mask_decoder")
    image_tokens = parameter("image_tokens", (-1, config.grid_size**2, config.embedding_width))
    coords = parameter("point_coords", (-1, -1, 2))
    labels = parameter("point_labels", (-1, -1), np.int64)

    points = embed_points(coords, labels, prompts, config.image_size)
    prompt = opset.concat([_output_tokens(part, points), points], 1)
    image = Image(image_tokens, no_mask(prompts), image_pe(prompts, config))
    tokens, keys = two_way_transformer(
        prompt, image, part["transformer"], depth=config.decoder_depth, heads=config.decoder_heads
    )
    kernels, iou_predictions = _read_output_tokens(tokens, part)
    outputs = {"keys": keys, "kernels": kernels, "iou_predictions": iou_predictions}
    return graph("mask_decoder", [image_tokens, coords, labels], outputs)


def mask_upscaling(parameters: Parameters) -> openvino.Model:
    """The graph of the upscaling and of the product with the kernels.

    Inputs: ``keys``, B x HW x C, and ``kernels``, B x M x C/8, of the masks that are wanted.
    Output: ``low_res_masks``, B x M x S/4 x S/4 logits.

    The transposed convolutions have 2 x 2 kernels that do not overlap, so they are matrix
    products: four new pixels of every token. Pixels are put in their places at the end, when a
    pixel is one number and not C/8.
    """
    config, part = parameters.config, Part(parameters.arrays, "mask_decoder.output_upscaling")
    side, width = config.grid_size, config.embedding_width
    keys = parameter("keys", (-1, side * side, width))
    kernels = parameter("kernels", (-1, -1, width // 8))
    x = reshape(project(keys, *_as_product(part[0])), 0, 0, 4, width // 4)
    x = gelu(layer_norm(x, part[1], IMAGE_NORM_EPSILON))
    x = gelu(project(x, *_as_product(part[3])))  # B x HW x 4 x (4 C/8)
    masks = matmul(kernels, reshape(x, 0, -1, width // 8), transpose_y=True)
    masks = reshape(masks, -1, side, 2, 2, 2, 2)  # (B M y) x x x (y x) x (y x)
    masks = transpose(masks, 0, 2, 4, 1, 3, 5)
    batch_and_masks = opset.gather(opset.shape_of(kernels), integers(0, 1), integer(0))
    shape = opset.concat([batch_and_masks, integers(4 * side, 4 * side)], 0)
    masks = opset.reshape(masks, shape, special_zero=False)
    return graph("mask_upscaling", [keys, kernels], {"low_res_masks": masks})


def _output_tokens(part: Part, points: Node) -> Node:
    """The tokens that answers are read from, B x 5 x C: the IoU's, then the masks'."""
    tokens = np.concatenate([part["iou_token"].weight, part["mask_tokens"].weight])
    batch = opset.gather(opset.shape_of(points), integers(0), integer(0))
    shape = opset.concat([batch, integers(*tokens.shape)], 0)
    return opset.broadcast(constant(tokens[None]), shape)


def _read_output_tokens(tokens: Node, part: Part) -> tuple[Node, Node]:
    """Kernels of the masks, B x 4 x C/8, and IoU, B x 4, of tokens, B x N x C."""
    count = 1 + MASK_TOKENS
    answers = opset.slice(tokens, integers(0), integers(count), integers(1), integers(1))
    iou_token, *mask_tokens = parts(answers, 1, count)  # B x 1 x C each
    kernels = [
        mlp(token, part["output_hypernetworks_mlps"][index])
        for index, token in enumerate(mask_tokens)
    ]
    iou_predictions = reshape(mlp(iou_token, part["iou_prediction_head"]), 0, -1)
    return opset.concat(kernels, 1), iou_predictions


def _as_product(part: Part) -> tuple[Array, Array]:
    """A transposed convolution, in x out x 2 x 2, as a linear layer, (2 x 2 x out) x in."""
    weight = part.weight.transpose(2, 3, 1, 0)
    return weight.reshape(-1, weight.shape[-1]), np.tile(part.bias, 4)
