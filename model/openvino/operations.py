"""The few operations that the graphs are made of.

Images are 1 x C x H x W. Between convolutions the image is kept as tokens, 1 x HW x C: OpenVINO
takes the last of four axes for the columns of a picture and would reorder 1 x H x W x C before and
after each sum. That makes the encoder 1.4 times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13 as opset

from model.openvino.part import Array, Part

Node = Any  # openvino is not annotated
Grid = tuple[int, int]  # rows and columns of tokens

_LAYER_NORM_EPSILON = 1e-5
IMAGE_NORM_EPSILON = 1e-6  # of SAM's norms over the channels of an image


def constant(value: npt.ArrayLike) -> Node:
    """A constant of float32."""
    return opset.constant(np.ascontiguousarray(value, np.float32))


def integers(*values: int) -> Node:
    """A constant of int64, one axis: for shapes and orders of axes."""
    return opset.constant(np.array(values, np.int64))


def integer(value: int) -> Node:
    """A constant of int64 without an axis: for the number of an axis."""
    return opset.constant(np.int64(value))


def reshape(x: Node, *shape: int) -> Node:
    """0 keeps the size of an axis, -1 takes what is left."""
    return opset.reshape(x, integers(*shape), special_zero=True)


def transpose(x: Node, *order: int) -> Node:
    """``order`` names the old axis of each new one."""
    return opset.transpose(x, integers(*order))


def parts(x: Node, axis: int, count: int) -> Sequence[Node]:
    """``x`` in ``count`` equal parts along an axis."""
    outputs: Sequence[Node] = opset.split(x, integer(axis), count).outputs()
    return outputs


def matmul(x: Node, y: Node, *, transpose_x: bool = False, transpose_y: bool = False) -> Node:
    """Matrix product over the last two axes."""
    return opset.matmul(x, y, transpose_x, transpose_y)


def project(x: Node, weight: Array, bias: Array | None = None) -> Node:
    """... x width_in to ... x width_out; ``weight`` is width_out x width_in."""
    product = matmul(x, constant(weight), transpose_y=True)
    return product if bias is None else opset.add(product, constant(bias))


def linear(x: Node, part: Part) -> Node:
    """A linear layer, ... x width_in to ... x width_out."""
    return project(x, part.weight, part.bias)


def mlp(x: Node, part: Part) -> Node:
    """Three linear layers with ReLUs between."""
    layers = part["layers"]
    hidden = opset.relu(linear(opset.relu(linear(x, layers[0])), layers[1]))
    return linear(hidden, layers[2])


def standardise(x: Node, epsilon: float = _LAYER_NORM_EPSILON) -> Node:
    """LayerNorm over the last axis, without its scale and shift."""
    return opset.mvn(x, integers(-1), True, epsilon, "inside_sqrt")


def layer_norm(x: Node, part: Part, epsilon: float = _LAYER_NORM_EPSILON) -> Node:
    """LayerNorm over the last axis."""
    scaled = opset.multiply(standardise(x, epsilon), constant(part.weight))
    return opset.add(scaled, constant(part.bias))


def gelu(x: Node) -> Node:
    """The exact one; its approximation by tanh is no faster."""
    return opset.gelu(x, "ERF")


def convolution(
    x: Node, weight: Array, bias: Array | None = None, *, stride: int = 1, padding: int = 0
) -> Node:
    """1 x C x H x W to 1 x out x H/stride x W/stride; ``weight`` is out x C x rows x columns."""
    strides, pads = [stride, stride], [padding, padding]
    out = opset.convolution(x, constant(weight), strides, pads, pads, [1, 1])
    return out if bias is None else opset.add(out, constant(bias[:, None, None]))


def depthwise(x: Node, weight: Array, bias: Array, *, stride: int = 1) -> Node:
    """A 3 x 3 convolution of each channel by itself; ``weight`` is C x 1 x 3 x 3."""
    by_channel = constant(weight[:, None])  # C groups of 1 x 1 x 3 x 3
    strides, pads = [stride, stride], [1, 1]
    out = opset.group_convolution(x, by_channel, strides, pads, pads, [1, 1])
    return opset.add(out, constant(bias[:, None, None]))


def to_tokens(image: Node) -> Node:
    """1 x C x H x W to 1 x HW x C."""
    channels = image.get_output_shape(0)[1]
    return reshape(transpose(image, 0, 2, 3, 1), 1, -1, channels)


def to_image(tokens: Node, grid: Grid) -> Node:
    """1 x HW x C to 1 x C x H x W."""
    return transpose(reshape(tokens, 1, *grid, -1), 0, 3, 1, 2)


def parameter(name: str, shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> Node:
    """An input; -1 is a size that is known when the graph runs."""
    node = opset.parameter(list(shape), dtype, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


def graph(name: str, inputs: Sequence[Node], outputs: Mapping[str, Node]) -> openvino.Model:
    """A graph with the names of its outputs."""
    results = []
    for output_name, node in outputs.items():
        result = opset.result(node)
        result.output(0).get_tensor().set_names({output_name})
        results.append(result)
    return openvino.Model(results, list(inputs), name)
