"""The attention of TinyViT: every token attends to the tokens of its window.

After TinyViT (https://arxiv.org/abs/2207.10666), figure 2 and section 3.3.
"""

from __future__ import annotations

import numpy as np
from openvino import opset13 as opset

from model.openvino.operations import (
    Grid,
    Node,
    constant,
    integers,
    matmul,
    parts,
    project,
    reshape,
    standardise,
    transpose,
)
from model.openvino.part import Array, Part, with_norm


def window_attention(x: Node, part: Part, *, grid: Grid, window: int, heads: int) -> Node:
    """Tokens, 1 x HW x C, to what attention adds to them, 1 x HW x C.

    The grid is padded to whole windows after the projection to queries, keys and values, and not
    before the norm: the norm and the projection then see no padding, and all reordering of the
    tokens is one transposition.
    """
    width = part["norm"].weight.shape[0]
    c = width // heads
    (weight, bias), (out_weight, out_bias) = _projections(part, heads)
    rows, columns = (-(-side // window) for side in grid)

    qkv = reshape(project(standardise(x), weight, bias), *grid, 3 * width)  # H x W x 3C
    qkv = _pad(qkv, rows * window - grid[0], columns * window - grid[1])
    qkv = reshape(qkv, rows, window, columns, window, 3, heads, c)
    qkv = transpose(qkv, 4, 0, 2, 5, 1, 3, 6)  # 3 x rows x columns x heads x window x window x c
    qkv = reshape(qkv, 3, rows * columns, heads, window * window, c)
    q, k, v = (reshape(one, rows * columns, heads, window * window, c) for one in parts(qkv, 0, 3))

    scores = matmul(q, k, transpose_y=True)  # windows x heads x N x N
    scores = opset.add(scores, constant(_bias_of_offsets(part.array("attention_biases"), window)))
    out = matmul(opset.softmax(scores, -1), v)  # windows x heads x N x c

    out = reshape(out, rows, columns, heads, window, window, c)
    out = transpose(out, 0, 3, 1, 4, 2, 5)
    out = _crop(reshape(out, rows * window, columns * window, width), grid)
    return project(reshape(out, 1, -1, width), out_weight, out_bias)


def _projections(part: Part, heads: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Weight and bias of the projection to queries, keys and values, and of the one after them.

    The network pads the grid with zeros before the norm, which turns them into the bias of the
    norm. Here the grid is padded with zeros after the projection. That is the same, since no bias
    of keys and values is needed before the softmax: that of the keys adds the same to all scores
    of a query, which softmax takes out, and that of the values adds the same to all results, so
    that it may be added after the attention. The queries of padding are thrown away.
    """
    weight, bias = with_norm(part["norm"], part["qkv"])
    by_head = weight.reshape(heads, 3, -1, weight.shape[1])  # heads x (q, k, v) x c x C
    q_bias, _, v_bias = bias.reshape(heads, 3, -1).swapaxes(0, 1).reshape(3, -1)
    by_kind = by_head.swapaxes(0, 1).reshape(3, -1, weight.shape[1]).copy()
    scale = np.float32((weight.shape[1] // heads) ** -0.5)
    by_kind[0] *= scale
    biases = np.concatenate([q_bias * scale, np.zeros_like(q_bias), np.zeros_like(v_bias)])
    out = part["proj"]
    return (
        (by_kind.reshape(-1, weight.shape[1]), biases),
        (out.weight, out.bias + out.weight @ v_bias),
    )


def _bias_of_offsets(table: Array, window: int) -> Array:
    """heads x offsets to heads x N x N: a score's bias depends on how far two tokens are apart."""
    y, x = np.divmod(np.arange(window * window), window)
    offsets = abs(y[:, None] - y) * window + abs(x[:, None] - x)
    return table[:, offsets]


def _pad(x: Node, below: int, right: int) -> Node:
    """Rows and columns of zeros, H x W x C."""
    zero = opset.constant(np.float32(0))
    return opset.pad(x, integers(0, 0, 0), integers(below, right, 0), "constant", zero)


def _crop(x: Node, grid: Grid) -> Node:
    """The first rows and columns, H x W x C."""
    return opset.slice(x, integers(0, 0), integers(*grid), integers(1, 1), integers(0, 1))
