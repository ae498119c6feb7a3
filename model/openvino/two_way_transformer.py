"""The two-way transformer of the mask decoder: prompt and image attend to each other.

After SAM (https://arxiv.org/abs/2304.02643), figure 14. The prompt is a few tokens (7 for a
click) and the image is S/16 x S/16 tokens, so the work would be the projections of the image
tokens. None of them is needed. With h for a head, q for a query of the prompt and x for an image
token, ``q_h . (W_h x) = (W_h^T q_h) . x``: to project the few instead of the many gives the same
scores, and likewise for values and outputs. That halves the multiplications of the decoder.

B prompts on one image share the image tokens until these attend to the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from openvino import opset13 as opset

from model.openvino.operations import (
    Node,
    constant,
    layer_norm,
    linear,
    matmul,
    project,
    reshape,
    transpose,
)
from model.openvino.part import Array, Part


@dataclass(frozen=True)
class Image:
    """The image tokens on their way through the transformer.

    Attributes:
        tokens: B x HW x C, or batch 1.
        lacking: 1 x C, what every token should have and ``tokens`` has not. To add this to the
            few tokens that attend to the image is less work than to add it to the image.
        pe: HW x C, the position embedding.
    """

    tokens: Node
    lacking: Array
    pe: Array

    @property
    def keys(self) -> Node:
        """B x HW x C, complete and with positions."""
        return opset.add(self.tokens, constant((self.pe + self.lacking)[None]))


def two_way_transformer(
    prompt: Node, image: Image, part: Part, *, depth: int, heads: int
) -> tuple[Node, Node]:
    """Prompt tokens, B x N x C, and image tokens, B x HW x C, informed of each other.

    The prompt tokens are their own position embedding.
    """
    queries = prompt
    for index in range(depth):
        layer = part["layers"][index]
        queries = _attend_to_itself(queries, prompt, layer, heads, is_first=index == 0)
        keys = image.keys
        attended = _attend_to_image(
            opset.add(queries, prompt), keys, image, layer["cross_attn_token_to_image"], heads
        )
        queries = layer_norm(opset.add(queries, attended), layer["norm2"])
        hidden = opset.relu(linear(queries, layer["mlp"]["lin1"]))
        queries = opset.add(queries, linear(hidden, layer["mlp"]["lin2"]))
        queries = layer_norm(queries, layer["norm3"])
        attended = _attend_from_image(
            keys, queries, prompt, layer["cross_attn_image_to_token"], heads, image.lacking
        )
        tokens = layer_norm(opset.add(image.tokens, attended), layer["norm4"])
        image = Image(tokens, np.zeros_like(image.lacking), image.pe)
    final = part["final_attn_token_to_image"]
    attended = _attend_to_image(opset.add(queries, prompt), image.keys, image, final, heads)
    return layer_norm(opset.add(queries, attended), part["norm_final_attn"]), image.tokens


def _attend_to_itself(
    queries: Node, prompt: Node, layer: Part, heads: int, *, is_first: bool
) -> Node:
    """B x N x C to the same."""
    part = layer["self_attn"]
    q = queries if is_first else opset.add(queries, prompt)
    query = _split_heads(_scaled_query(q, part["q_proj"], heads), heads)
    key = _split_heads(linear(q, part["k_proj"]), heads)
    value = _split_heads(linear(queries, part["v_proj"]), heads)
    weights = opset.softmax(matmul(query, key, transpose_y=True), -1)
    attended = linear(_merge_heads(matmul(weights, value)), part["out_proj"])
    return layer_norm(attended if is_first else opset.add(queries, attended), layer["norm1"])


def _attend_to_image(queries: Node, keys: Node, image: Image, part: Part, heads: int) -> Node:
    """What prompt tokens, B x N x C, see in the image, B x N x C.

    The bias of the keys adds the same to all scores of a query, and softmax takes it out. The
    weights of a query sum to one, so what is added to every value may be added once.
    """
    width = keys.get_output_partial_shape(0)[2].get_length()
    q = _split_heads(_scaled_query(queries, part["q_proj"], heads), heads)
    q = matmul(q, constant(_by_head(part["k_proj"].weight, heads)))  # B x heads x N x C
    scores = matmul(reshape(q, 0, -1, width), keys, transpose_y=True)  # B x heads N x HW
    seen = reshape(matmul(opset.softmax(scores, -1), image.tokens), 0, heads, -1, width)
    value, out = part["v_proj"], part["out_proj"]
    attended = matmul(seen, constant(_by_head(value.weight, heads)), transpose_y=True)
    added_to_values = value.bias + value.weight @ image.lacking[0]
    return project(_merge_heads(attended), out.weight, out.bias + out.weight @ added_to_values)


def _attend_from_image(
    image: Node, queries: Node, prompt: Node, part: Part, heads: int, lacking: Array
) -> Node:
    """What image tokens, B x HW x C, see in the prompt, with ``lacking`` added: B x HW x C.

    The weights of a head sum to one, so each head carries its share of what is added to all. The
    image tokens are the last axis of the scores: softmax over a short last axis uses no vector
    instructions, and took a third of the decoder's time.
    """
    _, count, width = image.get_output_partial_shape(0)
    count, width = count.get_length(), width.get_length()
    k = _split_heads(_scaled_query(opset.add(queries, prompt), part["k_proj"], heads), heads)
    to_image = matmul(k, constant(_by_head(part["q_proj"].weight, heads)))  # B x heads x N x C
    bias = matmul(k, constant(part["q_proj"].bias.reshape(heads, -1, 1)))  # B x heads x N x 1
    scores = matmul(reshape(to_image, 0, -1, width), image, transpose_y=True)
    scores = opset.add(scores, reshape(bias, 0, -1, 1))  # B x heads N x HW
    weights = opset.softmax(reshape(scores, 0, heads, -1, count), 2)
    v = _split_heads(linear(queries, part["v_proj"]), heads)
    out = part["out_proj"]
    values = matmul(v, constant(_by_head(out.weight.T, heads)))  # B x heads x N x C
    values = opset.add(values, constant((out.bias + lacking) / heads))
    weights, values = reshape(weights, 0, -1, count), reshape(values, 0, -1, width)
    return matmul(weights, values, transpose_x=True)


def _scaled_query(x: Node, part: Part, heads: int) -> Node:
    """A projection, divided by the root of a head's width as scores have to be."""
    scale = np.float32((part.bias.size // heads) ** -0.5)
    return project(x, part.weight * scale, part.bias * scale)


def _split_heads(x: Node, heads: int) -> Node:
    """B x N x (heads c) to B x heads x N x c."""
    width = x.get_output_partial_shape(0)[2].get_length()
    return transpose(reshape(x, 0, 0, heads, width // heads), 0, 2, 1, 3)


def _merge_heads(x: Node) -> Node:
    """B x heads x N x c to B x N x (heads c)."""
    _, heads, _, c = x.get_output_partial_shape(0)
    return reshape(transpose(x, 0, 2, 1, 3), 0, 0, heads.get_length() * c.get_length())


def _by_head(weight: Array, heads: int) -> Array:
    """(heads c) x C to heads x c x C."""
    return weight.reshape(heads, -1, weight.shape[1])
