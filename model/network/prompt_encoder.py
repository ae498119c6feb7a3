"""Prompt encoder: points, box corners and mask prompts to sparse and dense embeddings.

After SAM (https://arxiv.org/abs/2304.02643), segment_anything/modeling/prompt_encoder.py,
Apache-2.0. Boxes are two points labelled 2 and 3, so points and boxes share one path.
"""

from __future__ import annotations

import math

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

BOX_TOP_LEFT = 2  # labels 0 and 1 are background and foreground points, 3 is the other corner
PADDING = -1


class PositionEmbeddingRandom(nn.Module):
    """Fourier features of positions, with random frequencies that the checkpoint holds."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn((2, frequencies)))

    def forward(self, positions: Tensor) -> Tensor:
        """Embed positions.

        Args:
            positions: ... x 2, (x, y), each in [0, 1] across the input frame.

        Returns:
            ... x C, C twice the number of frequencies.
        """
        angles = (2 * positions - 1) @ self.positional_encoding_gaussian_matrix
        angles = 2 * math.pi * angles
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Sparse embeddings for points and box corners, dense embeddings for masks.

    Args:
        image_size: side S of the square input frame, pixels.
        embedding_width: channels C of the embeddings.
        mask_width: channels of the mask prompt's first layers.
    """

    def __init__(self, image_size: int, embedding_width: int, mask_width: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid_size = image_size // 16
        self.pe_layer = PositionEmbeddingRandom(embedding_width // 2)
        # background, foreground, box top-left, box bottom-right: indexed by the point label
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embedding_width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embedding_width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_width // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_width // 4, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(mask_width // 4, mask_width, kernel_size=2, stride=2),
            LayerNorm2d(mask_width, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(mask_width, embedding_width, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embedding_width)

    def forward(
        self, point_coords: Tensor, point_labels: Tensor, mask_inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts.

        Args:
            point_coords: B x N x 2, (x, y) in pixels of the S x S input frame.
            point_labels: B x N, 1 foreground, 0 background, 2 box top-left, 3 box bottom-right,
                -1 padding. SAM was trained with one padding point after points without a box.
            mask_inputs: B x 1 x S/4 x S/4 logits of an earlier mask, or None.

        Returns:
            sparse_embeddings, B x N x C, and dense_embeddings, B x C x S/16 x S/16 (batch 1
            where there is no mask prompt).
        """
        return self.embed_points(point_coords, point_labels), self._embed_masks(mask_inputs)

    def image_pe(self) -> Tensor:
        """Position embedding of the token grid, 1 x C x S/16 x S/16."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        centres = (torch.arange(self.grid_size, device=matrix.device) + 0.5) / self.grid_size
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        grid: Tensor = self.pe_layer(torch.stack([x, y], dim=-1).to(matrix.dtype))
        return grid.permute(2, 0, 1).unsqueeze(0)  # H x W x C -> 1 x C x H x W

    def embed_points(self, point_coords: Tensor, point_labels: Tensor) -> Tensor:
        """The sparse embeddings of :meth:`forward` alone."""
        # A coordinate names a pixel; the embedding is of the pixel's centre.
        embeddings: Tensor = self.pe_layer((point_coords + 0.5) / self.image_size)
        labels = point_labels.unsqueeze(-1)
        # where() and not index assignment, which would make a GPU wait for the labels
        embeddings = torch.where(
            labels == PADDING, self.not_a_point_embed.weight.to(embeddings.dtype), embeddings
        )
        for label, embedding in enumerate(self.point_embeddings):
            assert isinstance(embedding, nn.Embedding)
            embeddings = embeddings + embedding.weight * (labels == label)
        return embeddings

    def _embed_masks(self, mask_inputs: Tensor | None) -> Tensor:
        if mask_inputs is not None:
            embeddings: Tensor = self.mask_downscaling(mask_inputs)
            return embeddings
        no_mask = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return no_mask.expand(-1, -1, self.grid_size, self.grid_size)
