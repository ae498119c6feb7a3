"""Image encoder: timm's TinyViT plus SAM's neck.

MobileSAM (https://arxiv.org/abs/2306.14289) uses TinyViT-5M (https://arxiv.org/abs/2207.10666)
with one change: the last stage keeps its resolution, so that the grid has one token for every
16 x 16 pixels, as SAM's ViT has. timm holds the same trunk, so only that change stands here.
"""

from __future__ import annotations

from timm.layers import LayerNorm2d
from timm.models.tiny_vit import ConvNorm, TinyVit
from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """TinyViT trunk and SAM neck: images to image embeddings.

    Args:
        widths, depths, heads: per stage of the trunk, four numbers each.
        embedding_width: channels of the image embedding.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        embedding_width: int,
    ) -> None:
        super().__init__()
        self.trunk = TinyVit(
            num_classes=0,
            embed_dims=widths,
            depths=depths,
            num_heads=heads,
            drop_path_rate=0.0,
        )
        self.trunk.head = nn.Identity()  # its norm would be a parameter no checkpoint has
        # MobileSAM's one change to the trunk: 64 x 64 tokens at the end, not 32 x 32.
        self.trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], embedding_width, kernel_size=1, bias=False),
            LayerNorm2d(embedding_width, eps=1e-6),
            nn.Conv2d(embedding_width, embedding_width, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(embedding_width, eps=1e-6),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: B x 3 x S x S, RGB, normalised (``MobileSAM.preprocess`` makes them).

        Returns:
            Image embeddings, B x C x S/16 x S/16.
        """
        embeddings: Tensor = self.neck(self.trunk.forward_features(images))
        return embeddings


def fuse_batch_norms(module: nn.Module) -> None:
    """Fold every BatchNorm into the convolution before it, in place. For inference only."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            setattr(module, name, child.fuse())
        else:
            fuse_batch_norms(child)
