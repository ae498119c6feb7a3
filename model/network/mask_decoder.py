"""Mask decoder: image embeddings and prompt embeddings to masks and their predicted IoU.

After SAM (https://arxiv.org/abs/2304.02643), segment_anything/modeling/mask_decoder.py,
Apache-2.0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from model.architecture import MASK_TOKENS
from model.network.transformer import TwoWayTransformer


class MLP(nn.Module):
    """Three linear layers with ReLUs between."""

    def __init__(self, width: int, hidden_width: int, out_width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Linear(width, hidden_width),
                nn.Linear(hidden_width, hidden_width),
                nn.Linear(hidden_width, out_width),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ... x width to ... x out_width."""
        first, second, last = self.layers
        out: Tensor = last(F.relu(second(F.relu(first(x)))))
        return out


class MaskDecoder(nn.Module):
    """Predicts four masks per prompt and the IoU it expects of each.

    Args:
        width: channels C of image and prompt embeddings.
        depth, heads, mlp_width: of the transformer.
        iou_head_width: hidden width of the IoU head.
    """

    def __init__(
        self, width: int, depth: int, heads: int, mlp_width: int, iou_head_width: int
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(depth, width, heads, mlp_width)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, width // 8) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(width, iou_head_width, MASK_TOKENS)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_embeddings: Tensor,
        dense_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks.

        Args:
            image_embeddings: B x C x H x W, or batch 1 for B prompts on one image.
            image_pe: 1 x C x H x W.
            sparse_embeddings: B x N x C.
            dense_embeddings: B x C x H x W, or batch 1.

        Returns:
            low_res_masks, B x 4 x 4H x 4W logits, and iou_predictions, B x 4. Index 0 is the
            single mask, 1 to 3 are the answers to an ambiguous prompt.
        """
        batch = sparse_embeddings.shape[0]
        height, width = image_embeddings.shape[-2:]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(batch, -1, -1), sparse_embeddings], dim=1)
        src = (image_embeddings + dense_embeddings).expand(batch, -1, -1, -1)

        tokens, keys = self.transformer(src, image_pe, tokens)
        src = keys.transpose(1, 2).reshape(batch, -1, height, width)  # B x C x H x W
        upscaled = self.output_upscaling(src)  # B x C/8 x 4H x 4W

        kernels = self.mask_kernels(tokens)
        low_res_masks = (kernels @ upscaled.flatten(2)).reshape(batch, -1, 4 * height, 4 * width)
        return low_res_masks, self.iou_prediction_head(tokens[:, 0])

    def mask_kernels(self, tokens: Tensor) -> Tensor:
        """Each mask's weights of the upscaled channels, B x 4 x C/8, from tokens, B x N x C."""
        mask_tokens = tokens[:, 1 : 1 + MASK_TOKENS]
        kernels = [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        return torch.stack(kernels, dim=1)
