"""MobileSAM: the three networks joined."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.architecture import PIXEL_MEAN, PIXEL_STD, MobileSAMConfig
from model.network.image_encoder import ImageEncoder
from model.network.mask_decoder import MaskDecoder
from model.network.prompt_encoder import PromptEncoder


class MobileSAM(nn.Module):
    """Image encoder, prompt encoder and mask decoder.

    Attributes carry the names of the published checkpoint's prefixes.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: MobileSAMConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(
            config.encoder_widths,
            config.encoder_depths,
            config.encoder_heads,
            config.embedding_width,
        )
        self.prompt_encoder = PromptEncoder(
            config.image_size, config.embedding_width, config.mask_prompt_width
        )
        self.mask_decoder = MaskDecoder(
            config.embedding_width,
            config.decoder_depth,
            config.decoder_heads,
            config.decoder_mlp_width,
            config.iou_head_width,
        )
        for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Normalise and pad.

        Args:
            images: B x 3 x h x w, RGB, 0 to 255, any dtype; h and w at most S.

        Returns:
            B x 3 x S x S float; zeros below and to the right of the image.
        """
        height, width = images.shape[-2:]
        normalised = (images - self.pixel_mean) / self.pixel_std
        size = self.config.image_size
        return F.pad(normalised, (0, size - width, 0, size - height))

    def preprocess_frames(self, frames: Tensor, input_sizes: Tensor) -> Tensor:
        """Normalise images that lie in frames of one size, as :meth:`preprocess` does.

        Args:
            frames: B x S x S x 3 uint8 RGB, each with its image at the top left.
            input_sizes: the size (H, W) of each image, B x 2 int64.

        Returns:
            B x 3 x S x S float; zeros below and to the right of each image.
        """
        sides = torch.arange(self.config.image_size, device=frames.device)
        is_row, is_column = (sides < input_sizes[:, axis, None] for axis in (0, 1))
        is_image = is_row[:, None, :, None] & is_column[:, None, None, :]
        normalised = (frames.permute(0, 3, 1, 2) - self.pixel_mean) / self.pixel_std
        return normalised * is_image

    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_inputs: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Prompts to masks: prompt encoder, then mask decoder.

        Shapes as ``PromptEncoder.forward`` and ``MaskDecoder.forward`` document them.

        Returns:
            low_res_masks, B x 4 x S/4 x S/4 logits, and iou_predictions, B x 4.
        """
        sparse_embeddings, dense_embeddings = self.prompt_encoder(
            point_coords, point_labels, mask_inputs
        )
        masks: tuple[Tensor, Tensor] = self.mask_decoder(
            image_embeddings, self.prompt_encoder.image_pe(), sparse_embeddings, dense_embeddings
        )
        return masks
