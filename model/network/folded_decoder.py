"""The mask decoder as it is served on a CPU: the same numbers from half the multiplications.

A prompt is a few tokens (7 for a click) and the image is S/16 x S/16 of them, so the decoder's
work is its projections of the image tokens. None of them is needed. With h for a head, q for the
queries of the prompt and x for an image token, ``q_h . (W_h x) = (W_h^T q_h) . x``: projecting the
few instead of the many gives the same attention scores, and likewise for values and outputs. What
is added to every image token is added to the few too, for attention weights sum to one. The
transposed convolutions, whose kernels do not overlap, are plain matrix products over tokens.

``tests/model/test_folded_decoder.py`` shows that it computes what ``mask_decoder.py`` does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.architecture import MASK_TOKENS
from model.network.mobile_sam import MobileSAM
from model.network.transformer import Attention, TwoWayAttentionBlock


class FoldedDecoder(nn.Module):
    """Prompt encoder, less its mask prompts, and mask decoder up to the upscaling."""

    image_pe: Tensor
    no_mask: Tensor

    def __init__(self, network: MobileSAM) -> None:
        super().__init__()
        self.prompt_encoder = network.prompt_encoder
        self.mask_decoder = network.mask_decoder
        image_pe = network.prompt_encoder.image_pe().flatten(2).transpose(1, 2)
        self.register_buffer("image_pe", image_pe.contiguous())  # 1 x HW x C
        self.register_buffer("no_mask", network.prompt_encoder.no_mask_embed.weight)  # 1 x C

    def forward(
        self, image_tokens: Tensor, point_coords: Tensor, point_labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict what masks are made of.

        Args:
            image_tokens: image embeddings, B x HW x C, or batch 1 for B prompts on one image;
                for mask prompts with what :class:`MaskPromptTokens` makes of them added.
            point_coords: B x N x 2, (x, y) in pixels of the input frame.
            point_labels: B x N.

        Returns:
            keys, B x HW x C, and kernels, B x 4 x C/8, for :class:`FoldedUpscaling`; and
            iou_predictions, B x 4.
        """
        points = self.prompt_encoder.embed_points(point_coords, point_labels)
        decoder = self.mask_decoder
        output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        prompt = torch.cat([output_tokens.expand(points.shape[0], -1, -1), points], dim=1)

        queries, keys = prompt, image_tokens
        # what a layer's keys lack, the same in every image token
        lacking = self.no_mask
        for layer in decoder.transformer.layers:
            assert isinstance(layer, TwoWayAttentionBlock)
            queries, keys = self._block(layer, queries, keys, lacking, prompt)
            lacking = torch.zeros_like(self.no_mask)
        final = decoder.transformer.final_attn_token_to_image
        attended = _attend_to_image(final, queries + prompt, keys + self.image_pe, keys, lacking)
        tokens = decoder.transformer.norm_final_attn(queries + attended)

        return keys, decoder.mask_kernels(tokens), decoder.iou_prediction_head(tokens[:, 0])

    def _block(
        self,
        layer: TwoWayAttentionBlock,
        queries: Tensor,
        keys: Tensor,
        lacking: Tensor,
        prompt: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``TwoWayAttentionBlock.forward`` for ``keys + lacking``."""
        queries = layer.attend_to_itself(queries, prompt)
        positioned = keys + (self.image_pe + lacking)
        attended = _attend_to_image(
            layer.cross_attn_token_to_image, queries + prompt, positioned, keys, lacking
        )
        queries = layer.norm2(queries + attended)
        queries = layer.norm3(queries + layer.mlp(queries))
        attended = _attend_from_image(
            layer.cross_attn_image_to_token, positioned, queries + prompt, queries, lacking
        )
        return queries, layer.norm4(keys + attended)


class MaskPromptTokens(nn.Module):
    """What mask prompts add to the image tokens."""

    def __init__(self, network: MobileSAM) -> None:
        super().__init__()
        self.prompt_encoder = network.prompt_encoder

    def forward(self, mask_inputs: Tensor) -> Tensor:
        """B x 1 x S/4 x S/4 logits to B x HW x C."""
        dense: Tensor = self.prompt_encoder.mask_downscaling(mask_inputs)
        return dense.flatten(2).transpose(1, 2) - self.prompt_encoder.no_mask_embed.weight


def _attend_to_image(
    attention: Attention, q: Tensor, k: Tensor, v: Tensor, lacking: Tensor
) -> Tensor:
    """``Attention.forward`` from few tokens (q, B x N x C) to the image (B x HW x C).

    The keys' bias adds the same to all scores of a query, which softmax takes out again; that of
    the values is added once, since the weights of a query sum to one.

    Args:
        k: keys.
        v: values, less ``lacking``, 1 x C.
    """
    heads = attention.heads
    q = _split_heads(attention.q_proj(q), heads)  # B x heads x N x c
    q = q * q.shape[-1] ** -0.5
    to_image = q @ _by_head(attention.k_proj.weight, heads)  # B x heads x N x C
    weights = (to_image.flatten(1, 2) @ k.transpose(1, 2)).softmax(dim=-1)  # B x heads N x HW
    seen = (weights @ v + lacking).reshape(to_image.shape)  # B x heads x N x C
    values = seen @ _by_head(attention.v_proj.weight, heads).transpose(1, 2)
    merged = values.transpose(1, 2).flatten(2) + attention.v_proj.bias
    out: Tensor = attention.out_proj(merged)
    return out


def _attend_from_image(
    attention: Attention, q: Tensor, k: Tensor, v: Tensor, added: Tensor
) -> Tensor:
    """``Attention.forward`` from the image (q, B x HW x C) to few tokens (k and v, B x N x C).

    Plus ``added``, 1 x C: a share of it, and of the bias, goes into the values of each head.
    """
    heads = attention.heads
    k = _split_heads(attention.k_proj(k), heads)  # B x heads x N x c
    k = k * k.shape[-1] ** -0.5
    to_image = k @ _by_head(attention.q_proj.weight, heads)  # B x heads x N x C
    bias = k @ attention.q_proj.bias.reshape(heads, -1, 1)  # B x heads x N x 1
    scores = q @ to_image.flatten(1, 2).transpose(1, 2) + bias.flatten(1).unsqueeze(1)
    weights = scores.reshape(*scores.shape[:2], heads, -1).softmax(dim=-1)  # B x HW x heads x N
    v = _split_heads(attention.v_proj(v), heads)
    values = v @ _by_head(attention.out_proj.weight.t(), heads)  # B x heads x N x C
    values = values + (attention.out_proj.bias + added) / heads
    return weights.flatten(2) @ values.flatten(1, 2)


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)  # B x heads x N x c


def _by_head(weight: Tensor, heads: int) -> Tensor:
    return weight.reshape(heads, -1, weight.shape[1])  # heads x c x C


class FoldedUpscaling(nn.Module):
    """``output_upscaling`` and the product with the mask kernels, over tokens.

    Apart from the decoder, since reduced precision changes masks little here and much there.
    """

    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor

    def __init__(self, network: MobileSAM) -> None:
        super().__init__()
        self.grid_size = network.prompt_encoder.grid_size
        conv1, norm, _, conv2, _ = network.mask_decoder.output_upscaling
        assert isinstance(conv1, nn.ConvTranspose2d) and isinstance(conv2, nn.ConvTranspose2d)
        assert isinstance(norm, nn.LayerNorm)  # timm's LayerNorm2d is one, over dimension 1
        self.norm = norm
        for name, conv in (("1", conv1), ("2", conv2)):
            # in x out x 2 x 2 -> (2 x 2 x out) x in: a row of products for every new pixel
            weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
            assert conv.bias is not None
            self.register_buffer(f"weight{name}", weight.contiguous())
            self.register_buffer(f"bias{name}", conv.bias.repeat(4))

    def forward(self, keys: Tensor, kernels: Tensor) -> Tensor:
        """Masks, B x 4 x 4H x 4W, of image tokens, B x HW x C, and kernels, B x 4 x C/8."""
        norm = self.norm
        x = F.linear(keys, self.weight1, self.bias1)
        x = x.reshape(*keys.shape[:2], 4, -1)  # B x HW x 4 x C/4
        x = F.gelu(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        x = F.gelu(F.linear(x, self.weight2, self.bias2))
        x = x.reshape(x.shape[0], -1, kernels.shape[-1])  # B x HW 4 4 x C/8
        masks = kernels @ x.transpose(1, 2)  # B x 4 x HW 4 4
        side = self.grid_size
        pixels = masks.reshape(-1, side, 2, 2, 2, 2)  # (B 4 y) x x x (y x) x (y x)
        pixels = pixels.permute(0, 2, 4, 1, 3, 5)
        return pixels.reshape(-1, MASK_TOKENS, 4 * side, 4 * side)
