"""The architecture's constants, its sizes, and the name and shape of every tensor.

No torch here: readers of checkpoints and the OpenVINO graphs know the network by this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

Shape = tuple[int, ...]

# ImageNet statistics on the 0..255 scale, as SAM uses them (RGB).
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

TOKEN_SIDE = 16  # pixels of the input frame that a token of the image embedding stands for
WINDOWS = (7, 7, 14, 7)  # side of an attention window, by stage of the trunk; stage 0 has none
MASK_TOKENS = 4  # one single-mask token, then three for the answers to an ambiguous prompt
POINT_KINDS = 4  # background, foreground, box top-left, box bottom-right: as point labels count
# The names of all tensors behind the image encoder begin with one of these.
DECODER_PARTS = ("prompt_encoder.", "mask_decoder.")

_EXPANSION = 4  # hidden width of the trunk's convolution blocks and MLPs, as a multiple
_LARGEST = 4096  # of any size below; the published network's largest is 2048


@dataclass(frozen=True)
class MobileSAMConfig:
    """Sizes of the network. The defaults are those of the published MobileSAM.

    Raises:
        ValueError: no network has these sizes; says which and why.
    """

    image_size: int = 1024  # side S of the square input frame, pixels
    encoder_widths: tuple[int, ...] = (64, 128, 160, 320)
    encoder_depths: tuple[int, ...] = (2, 2, 6, 2)
    encoder_heads: tuple[int, ...] = (2, 4, 5, 10)
    embedding_width: int = 256
    mask_prompt_width: int = 16
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_width: int = 2048
    iou_head_width: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_size(field.name, getattr(self, field.name), field.default)
        for width, heads in zip(self.encoder_widths, self.encoder_heads, strict=True):
            _check_multiple("encoder_widths", width, heads)
        _check_multiple("encoder_widths", self.encoder_widths[0], 2)
        _check_multiple("image_size", self.image_size, TOKEN_SIDE)
        _check_multiple("embedding_width", self.embedding_width, 2 * self.decoder_heads)
        _check_multiple("embedding_width", self.embedding_width, 8)
        _check_multiple("mask_prompt_width", self.mask_prompt_width, 4)

    @property
    def grid_size(self) -> int:
        """Tokens of the image embedding along a side of the frame."""
        return self.image_size // TOKEN_SIDE


def tensor_shapes(config: MobileSAMConfig) -> Mapping[str, Shape]:
    """The shape of every tensor that a checkpoint holds, by our names.

    ``num_batches_tracked`` of BatchNorms is left out: nothing uses the counts.
    """
    return dict(
        [
            *_trunk(config),
            *_neck(config),
            *_prompt_encoder(config.embedding_width, config.mask_prompt_width),
            *_mask_decoder(config),
        ]
    )


def decoder_shapes(config: MobileSAMConfig) -> Mapping[str, Shape]:
    """The part of :func:`tensor_shapes` behind the image encoder: what a project may learn."""
    shapes = tensor_shapes(config)
    return {name: shape for name, shape in shapes.items() if name.startswith(DECODER_PARTS)}


def _check_size(name: str, value: object, default: object) -> None:
    sizes = value if isinstance(default, tuple) else (value,)
    if not isinstance(sizes, tuple) or (isinstance(default, tuple) and len(sizes) != len(default)):
        raise ValueError(f"{name} must be {len(WINDOWS)} numbers, one of each stage")
    for size in sizes:
        if type(size) is not int or not 1 <= size <= _LARGEST:
            raise ValueError(f"{name} must be whole numbers from 1 to {_LARGEST}")


def _check_multiple(name: str, value: int, divisor: int) -> None:
    if value % divisor:
        raise ValueError(f"{name} is {value}, which is no multiple of {divisor}")


Tensors = Iterator[tuple[str, Shape]]


def _linear(name: str, width_in: int, width_out: int) -> Tensors:
    yield f"{name}.weight", (width_out, width_in)
    yield f"{name}.bias", (width_out,)


def _norm(name: str, width: int) -> Tensors:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _conv_norm(name: str, width_in: int, width_out: int, side: int) -> Tensors:
    """A convolution and its BatchNorm; ``width_in`` is 1 where the convolution is depthwise."""
    yield f"{name}.conv.weight", (width_out, width_in, side, side)
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.bn.{part}", (width_out,)


def _trunk(config: MobileSAMConfig) -> Tensors:
    trunk, widths = "image_encoder.trunk", config.encoder_widths
    yield from _conv_norm(f"{trunk}.patch_embed.conv1", 3, widths[0] // 2, 3)
    yield from _conv_norm(f"{trunk}.patch_embed.conv2", widths[0] // 2, widths[0], 3)
    for index in range(config.encoder_depths[0]):
        block, hidden = f"{trunk}.stages.0.blocks.{index}", _EXPANSION * widths[0]
        yield from _conv_norm(f"{block}.conv1", widths[0], hidden, 1)
        yield from _conv_norm(f"{block}.conv2", 1, hidden, 3)
        yield from _conv_norm(f"{block}.conv3", hidden, widths[0], 1)
    for stage in range(1, len(widths)):
        width, downsample = widths[stage], f"{trunk}.stages.{stage}.downsample"
        yield from _conv_norm(f"{downsample}.conv1", widths[stage - 1], width, 1)
        yield from _conv_norm(f"{downsample}.conv2", 1, width, 3)
        yield from _conv_norm(f"{downsample}.conv3", width, width, 1)
        for index in range(config.encoder_depths[stage]):
            block = f"{trunk}.stages.{stage}.blocks.{index}"
            yield from _attention_block(block, width, config.encoder_heads[stage], WINDOWS[stage])


def _attention_block(block: str, width: int, heads: int, window: int) -> Tensors:
    yield f"{block}.attn.attention_biases", (heads, window * window)
    yield from _norm(f"{block}.attn.norm", width)
    yield from _linear(f"{block}.attn.qkv", width, 3 * width)
    yield from _linear(f"{block}.attn.proj", width, width)
    yield from _norm(f"{block}.mlp.norm", width)
    yield from _linear(f"{block}.mlp.fc1", width, _EXPANSION * width)
    yield from _linear(f"{block}.mlp.fc2", _EXPANSION * width, width)
    yield from _conv_norm(f"{block}.local_conv", 1, width, 3)


def _neck(config: MobileSAMConfig) -> Tensors:
    neck, width = "image_encoder.neck", config.embedding_width
    yield f"{neck}.0.weight", (width, config.encoder_widths[-1], 1, 1)
    yield from _norm(f"{neck}.1", width)
    yield f"{neck}.2.weight", (width, width, 3, 3)
    yield from _norm(f"{neck}.3", width)


def _prompt_encoder(width: int, mask_width: int) -> Tensors:
    encoder = "prompt_encoder"
    yield f"{encoder}.pe_layer.positional_encoding_gaussian_matrix", (2, width // 2)
    for kind in range(POINT_KINDS):
        yield f"{encoder}.point_embeddings.{kind}.weight", (1, width)
    yield f"{encoder}.not_a_point_embed.weight", (1, width)
    yield f"{encoder}.no_mask_embed.weight", (1, width)
    widths = (1, mask_width // 4, mask_width)
    for layer, (width_in, width_out) in zip((0, 3), pairwise(widths), strict=True):
        yield f"{encoder}.mask_downscaling.{layer}.weight", (width_out, width_in, 2, 2)
        yield f"{encoder}.mask_downscaling.{layer}.bias", (width_out,)
        yield from _norm(f"{encoder}.mask_downscaling.{layer + 1}", width_out)
    yield f"{encoder}.mask_downscaling.6.weight", (width, mask_width, 1, 1)
    yield f"{encoder}.mask_downscaling.6.bias", (width,)


def _mask_decoder(config: MobileSAMConfig) -> Tensors:
    decoder, width = "mask_decoder", config.embedding_width
    transformer = f"{decoder}.transformer"
    for index in range(config.decoder_depth):
        layer = f"{transformer}.layers.{index}"
        yield from _attention(f"{layer}.self_attn", width, width)
        yield from _attention(f"{layer}.cross_attn_token_to_image", width, width // 2)
        yield from _attention(f"{layer}.cross_attn_image_to_token", width, width // 2)
        yield from _linear(f"{layer}.mlp.lin1", width, config.decoder_mlp_width)
        yield from _linear(f"{layer}.mlp.lin2", config.decoder_mlp_width, width)
        for norm in range(1, 5):
            yield from _norm(f"{layer}.norm{norm}", width)
    yield from _attention(f"{transformer}.final_attn_token_to_image", width, width // 2)
    yield from _norm(f"{transformer}.norm_final_attn", width)
    yield f"{decoder}.iou_token.weight", (1, width)
    yield f"{decoder}.mask_tokens.weight", (MASK_TOKENS, width)
    yield f"{decoder}.output_upscaling.0.weight", (width, width // 4, 2, 2)
    yield f"{decoder}.output_upscaling.0.bias", (width // 4,)
    yield from _norm(f"{decoder}.output_upscaling.1", width // 4)
    yield f"{decoder}.output_upscaling.3.weight", (width // 4, width // 8, 2, 2)
    yield f"{decoder}.output_upscaling.3.bias", (width // 8,)
    for index in range(MASK_TOKENS):
        yield from _mlp(f"{decoder}.output_hypernetworks_mlps.{index}", width, width, width // 8)
    yield from _mlp(f"{decoder}.iou_prediction_head", width, config.iou_head_width, MASK_TOKENS)


def _attention(name: str, width: int, inner_width: int) -> Tensors:
    for projection in ("q_proj", "k_proj", "v_proj"):
        yield from _linear(f"{name}.{projection}", width, inner_width)
    yield from _linear(f"{name}.out_proj", inner_width, width)


def _mlp(name: str, width: int, hidden: int, width_out: int) -> Tensors:
    yield from _linear(f"{name}.layers.0", width, hidden)
    yield from _linear(f"{name}.layers.1", hidden, hidden)
    yield from _linear(f"{name}.layers.2", hidden, width_out)
