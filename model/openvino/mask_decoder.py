"""The mask decoder: image tokens and prompt to masks and the IoU expected of each.

After SAM (https://arxiv.org/abs/2304.02643), figure 14. It is two graphs for the prompts of an
annotator, since reduced precision changes masks little in the upscaling and much before. It is one
graph for the many points that search for objects.
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
    inputs = _inputs(parameters, batch=-1)
    keys, kernels, iou_predictions = _decode(parameters, *inputs)
    outputs = {"keys": keys, "kernels": kernels, "iou_predictions": iou_predictions}
    return graph("mask_decoder", inputs, outputs)


def mask_upscaling(parameters: Parameters) -> openvino.Model:
    """The graph of the upscaling and of the product with the kernels.

    Inputs: ``keys``, B x HW x C, and ``kernels``, B x M x C/8, of the masks that are wanted.
    Output: ``low_res_masks``, B x M x S/4 x S/4 logits.

    The transposed convolutions have 2 x 2 kernels that do not overlap, so they are matrix
    products: four new pixels of every token. Pixels are put in their places at the end, when a
    pixel is one number and not C/8.
    """
    config = parameters.config
    keys = parameter("keys", (-1, config.grid_size**2, config.embedding_width))
    kernels = parameter("kernels", (-1, -1, config.embedding_width // 8))
    masks = _upscale(parameters, keys, kernels, integers(4 * config.grid_size))
    return graph("mask_upscaling", [keys, kernels], {"low_res_masks": masks})


def confident_masks(parameters: Parameters) -> openvino.Model:
    """The graph of prompt encoder and mask decoder for many ambiguous prompts on one image.

    Only masks that may be wanted are upscaled, and only the rows that show the image.

    Inputs: ``image_tokens``, 1 x HW x C; ``point_coords`` and ``point_labels`` as for
    ``mask_decoder``; ``iou_thresh``, 1; ``token_rows``, 1 int64. Outputs: ``low_res_masks``,
    K x 3 x 4 token_rows x S/4 logits of the K prompts that have an answer with at least this
    predicted IoU; ``prompts``, K int64, their indices; ``iou_predictions``, B x 4.
    """
    config = parameters.config
    inputs = _inputs(parameters, batch=1)
    thresh, token_rows = parameter("iou_thresh", (1,)), parameter("token_rows", (1,), np.int64)
    keys, kernels, iou_predictions = _decode(parameters, *inputs)
    is_confident = opset.greater_equal(_of_ambiguous(iou_predictions), thresh)
    prompts = opset.non_zero(opset.reduce_logical_or(is_confident, integers(1)), "i64")  # 1 x K
    prompts = opset.squeeze(prompts, integers(0))
    shown = opset.multiply(token_rows, integers(config.grid_size))
    keys = opset.slice(keys, integers(0), shown, integers(1), integers(1))
    masks = _upscale(
        parameters,
        opset.gather(keys, prompts, integer(0)),
        opset.gather(_of_ambiguous(kernels), prompts, integer(0)),
        opset.multiply(token_rows, integers(4)),
    )
    outputs = {"low_res_masks": masks, "prompts": prompts, "iou_predictions": iou_predictions}
    return graph("confident_masks", [*inputs, thresh, token_rows], outputs)


def _inputs(parameters: Parameters, batch: int) -> list[Node]:
    """``image_tokens``, ``point_coords`` and ``point_labels``."""
    config = parameters.config
    return [
        parameter("image_tokens", (batch, config.grid_size**2, config.embedding_width)),
        parameter("point_coords", (-1, -1, 2)),
        parameter("point_labels", (-1, -1), np.int64),
    ]


def _decode(
    parameters: Parameters, image_tokens: Node, coords: Node, labels: Node
) -> tuple[Node, Node, Node]:
    """Everything before the upscaling: keys, kernels and predicted IoUs of ``mask_decoder``."""
    config = parameters.config
    prompts = Part(parameters.arrays, "prompt_encoder")
    part = Part(parameters.arrays, "mask_decoder")
    points = embed_points(coords, labels, prompts, config.image_size)
    prompt = opset.concat([_output_tokens(part, points), points], 1)
    image = Image(image_tokens, no_mask(prompts), image_pe(prompts, config))
    tokens, keys = two_way_transformer(
        prompt, image, part["transformer"], depth=config.decoder_depth, heads=config.decoder_heads
    )
    return keys, *_read_output_tokens(tokens, part)


def _upscale(parameters: Parameters, keys: Node, kernels: Node, rows: Node) -> Node:
    """Keys, B x n x C, and kernels, B x M x C/8, to masks, B x M x rows x S/4."""
    config, part = parameters.config, Part(parameters.arrays, "mask_decoder.output_upscaling")
    side, width = config.grid_size, config.embedding_width
    x = reshape(project(keys, *_as_product(part[0])), 0, 0, 4, width // 4)
    x = gelu(layer_norm(x, part[1], IMAGE_NORM_EPSILON))
    x = gelu(project(x, *_as_product(part[3])))  # B x n x 4 x (4 C/8)
    masks = matmul(kernels, reshape(x, 0, -1, width // 8), transpose_y=True)
    masks = reshape(masks, -1, side, 2, 2, 2, 2)  # (B M y) x x x (y x) x (y x)
    masks = transpose(masks, 0, 2, 4, 1, 3, 5)
    batch_and_masks = opset.gather(opset.shape_of(kernels), integers(0, 1), integer(0))
    shape = opset.concat([batch_and_masks, rows, integers(4 * side)], 0)
    return opset.reshape(masks, shape, special_zero=False)


def _of_ambiguous(answers: Node) -> Node:
    """B x 4 x ... to B x 3 x ...: the answers to an ambiguous prompt."""
    return opset.slice(answers, integers(1), integers(MASK_TOKENS), integers(1), integers(1))


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
