"""The trunk of the image encoder: TinyViT, whose last stage keeps its resolution.

After TinyViT (https://arxiv.org/abs/2207.10666), figure 2: two convolutions, a stage of
convolution blocks, three stages of attention blocks. All BatchNorms are part of the convolutions
before them, and the scales of LayerNorms part of the linear layers behind them.
"""

from __future__ import annotations

from openvino import opset13 as opset

from model.architecture import WINDOWS, MobileSAMConfig
from model.openvino.operations import (
    Grid,
    Node,
    convolution,
    depthwise,
    gelu,
    linear,
    project,
    standardise,
    to_image,
    to_tokens,
)
from model.openvino.part import Part, with_batch_norm, with_norm
from model.openvino.window_attention import window_attention


def tiny_vit(images: Node, part: Part, config: MobileSAMConfig) -> Node:
    """Normalised pixels, 1 x 3 x S x S, to tokens, 1 x (S/16 S/16) x C."""
    x = _patch_embed(images, part["patch_embed"])
    side = config.image_size // 4
    for index in range(config.encoder_depths[0]):
        x = _convolution_block(x, part["stages.0.blocks"][index])
    for stage, stride in ((1, 2), (2, 2), (3, 1)):
        blocks = part["stages"][stage]
        x = _downsample(x, blocks["downsample"], stride)
        side //= stride
        tokens = to_tokens(x)
        for index in range(config.encoder_depths[stage]):
            tokens = _attention_block(
                tokens,
                blocks["blocks"][index],
                grid=(side, side),
                window=WINDOWS[stage],
                heads=config.encoder_heads[stage],
            )
        x = to_image(tokens, (side, side))
    return tokens


def _patch_embed(images: Node, part: Part) -> Node:
    """1 x 3 x S x S to 1 x C x S/4 x S/4."""
    x = gelu(convolution(images, *with_batch_norm(part["conv1"]), stride=2, padding=1))
    return convolution(x, *with_batch_norm(part["conv2"]), stride=2, padding=1)


def _convolution_block(x: Node, part: Part) -> Node:
    """A block of the first stage, MBConv: 1 x C x H x W to the same."""
    y = gelu(convolution(x, *with_batch_norm(part["conv1"])))
    y = gelu(depthwise(y, *with_batch_norm(part["conv2"])))
    return gelu(opset.add(x, convolution(y, *with_batch_norm(part["conv3"]))))


def _downsample(x: Node, part: Part, stride: int) -> Node:
    """1 x C x H x W to 1 x C' x H/stride x W/stride."""
    x = gelu(convolution(x, *with_batch_norm(part["conv1"])))
    x = gelu(depthwise(x, *with_batch_norm(part["conv2"]), stride=stride))
    return convolution(x, *with_batch_norm(part["conv3"]))


def _attention_block(x: Node, part: Part, *, grid: Grid, window: int, heads: int) -> Node:
    """Attention in windows, a convolution of neighbours, an MLP: 1 x HW x C to the same."""
    attended = window_attention(x, part["attn"], grid=grid, window=window, heads=heads)
    x = to_image(opset.add(x, attended), grid)
    x = to_tokens(depthwise(x, *with_batch_norm(part["local_conv"])))
    mlp = part["mlp"]
    hidden = gelu(project(standardise(x), *with_norm(mlp["norm"], mlp["fc1"])))
    return opset.add(x, linear(hidden, mlp["fc2"]))
