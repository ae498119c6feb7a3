"""Two-way transformer: prompt tokens and image tokens attend to each other.

After SAM (https://arxiv.org/abs/2304.02643), segment_anything/modeling/transformer.py,
Apache-2.0.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its outer one.

    There are thousands of image tokens, but only a handful of prompt tokens. So the products are
    written out: torch's fused kernel gives each group of 64 queries to one block of a GPU, and a
    handful of queries leaves the GPU idle.
    """

    def __init__(self, width: int, heads: int, inner_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner_width)
        self.k_proj = nn.Linear(width, inner_width)
        self.v_proj = nn.Linear(width, inner_width)
        self.out_proj = nn.Linear(inner_width, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from q (B x N x C) to k and v (B x M x C); returns B x N x C."""
        q = self._split_heads(self.q_proj(q))
        k = self._split_heads(self.k_proj(k))
        v = self._split_heads(self.v_proj(v))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # B x heads x N x M
        out = scores.softmax(dim=-1) @ v  # B x heads x N x C/heads
        merged: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return merged

    def _split_heads(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        return x.reshape(batch, tokens, self.heads, -1).transpose(1, 2)  # B x heads x N x C/heads


class MLPBlock(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, mlp_width)
        self.lin2 = nn.Linear(mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map B x N x C to B x N x C."""
        out: Tensor = self.lin2(F.relu(self.lin1(x)))
        return out


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP on the tokens, image to tokens."""

    def __init__(self, width: int, heads: int, mlp_width: int, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(width, heads, inner_width=width)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, inner_width=width // 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, mlp_width)
        self.norm3 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, inner_width=width // 2)
        self.norm4 = nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens (queries, B x N x C) and image (keys, B x HW x C)."""
        queries = self.attend_to_itself(queries, query_pe)

        q, k = queries + query_pe, keys + key_pe
        queries = self.norm2(queries + self.cross_attn_token_to_image(q, k, keys))
        queries = self.norm3(queries + self.mlp(queries))

        q = queries + query_pe
        keys = self.norm4(keys + self.cross_attn_image_to_token(k, q, queries))
        return queries, keys

    def attend_to_itself(self, queries: Tensor, query_pe: Tensor) -> Tensor:
        """The first step of :meth:`forward`: the tokens inform each other."""
        if self.is_first:  # the tokens are their own position embedding: nothing to add yet
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        out: Tensor = self.norm1(queries)
        return out


class TwoWayTransformer(nn.Module):
    """A stack of two-way blocks and a last attention from tokens to image."""

    def __init__(self, depth: int, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(width, heads, mlp_width, is_first=index == 0)
            for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(width, heads, inner_width=width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(
        self, image_embeddings: Tensor, image_pe: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Let tokens and image inform each other.

        Args:
            image_embeddings: B x C x H x W.
            image_pe: position embedding, 1 x C x H x W.
            tokens: B x N x C; also used as their own position embedding.

        Returns:
            Tokens, B x N x C, and image, B x HW x C.
        """
        keys = image_embeddings.flatten(2).transpose(1, 2)  # B x C x H x W -> B x HW x C
        key_pe = image_pe.flatten(2).transpose(1, 2)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, query_pe=tokens, key_pe=key_pe)
        attended = self.final_attn_token_to_image(queries + tokens, keys + key_pe, keys)
        return self.norm_final_attn(queries + attended), keys
