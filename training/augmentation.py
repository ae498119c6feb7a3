"""Varies stored pictures on their device: crop, scale, flip, turn, colours, pasted objects.

All functions take and give whole batches. Chance comes from torch's generator of the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.architecture import PIXEL_MEAN
from training.pool import UNKNOWN, Pictures

_PASTED = UNKNOWN - 1  # the part number of a pasted object
_PASTED_SHARE = 0.2  # of the pictures
_TURNED_SHARE = 0.12
_LIGHT = (0.299, 0.587, 0.114)  # of red, green and blue in grey


@dataclass(frozen=True)
class Frames:
    """Input frames and the parts in them.

    Attributes:
        images: B x 3 x S x S, 0 to 255. Beside the picture lies the mean colour, which is zero
            after normalisation: so the serving code pads.
        part_maps: B x S x S int64, as in ``Pictures``; 0 beside the picture.
        owners: B x 256 uint8.
    """

    images: Tensor
    part_maps: Tensor
    owners: Tensor

    @classmethod
    def join(cls, frames: list[Frames]) -> Frames:
        """Several batches as one."""
        return cls(
            torch.cat([one.images for one in frames]),
            torch.cat([one.part_maps for one in frames]),
            torch.cat([one.owners for one in frames]),
        )


def scene_frames(pictures: Pictures, size: int) -> Frames:
    """Frames of scenes. The colours of scenes have no meaning and are exchanged often."""
    images, part_maps, inside = _cut_out(pictures, size, smallest=0.55)
    return _finish(images, part_maps, inside, pictures.owners, exchanged=0.5)


def photograph_frames(pictures: Pictures, size: int) -> Frames:
    """Frames of photographs, some with an object of another photograph."""
    images, part_maps, inside = _cut_out(pictures, size, smallest=0.45)
    images, part_maps = _paste(images, part_maps, inside)
    return _finish(images, part_maps, inside, pictures.owners, exchanged=0.15)


def _finish(
    images: Tensor, part_maps: Tensor, inside: Tensor, owners: Tensor, exchanged: float
) -> Frames:
    images = _recolour(images, exchanged)
    mean = images.new_tensor(PIXEL_MEAN).round()[:, None, None]
    return Frames(torch.where(inside[:, None], images, mean), part_maps, owners)


def _cut_out(pictures: Pictures, size: int, smallest: float) -> tuple[Tensor, Tensor, Tensor]:
    """A part of each picture, flipped or turned, as large as fits into the frame.

    Args:
        size: of the frame, pixels.
        smallest: the part's least share of the picture's sides.

    Returns:
        images, B x 3 x S x S; part_maps, B x S x S int64; and where the picture is, B x S x S.
    """
    images, part_maps, sizes, side = _halved(pictures, size)
    count, device = len(images), images.device
    is_cut = _lot(count, 0.6, device)
    share = torch.where(is_cut, _between(count, smallest, 1, device), 1.0)
    height, width = (sizes * share[:, None]).unbind(1)
    narrower = _between(count, 0.55, 1, device)
    kind = torch.randint(4, (count,), device=device)  # every fourth flatter, every fourth narrower
    height = torch.where(kind == 0, height * narrower, height)
    width = torch.where(kind == 1, width * narrower, width)
    top = torch.rand(count, device=device) * (sizes[:, 0] - height)
    left = torch.rand(count, device=device) * (sizes[:, 1] - width)

    is_turned = _lot(count, _TURNED_SHARE, device)
    shown_height = torch.where(is_turned, width, height)[:, None, None]
    shown_width = torch.where(is_turned, height, width)[:, None, None]
    scale = size / torch.maximum(shown_height, shown_width)
    centres = torch.arange(size, device=device) + 0.5
    y, x = centres[None, :, None] / scale, centres[None, None, :] / scale
    inside = (y <= shown_height) & (x <= shown_width)
    x = torch.where(_lot(count, 0.5, device)[:, None, None], shown_width - x, x)
    y, x = y.expand_as(inside), x.expand_as(inside)
    turned = is_turned[:, None, None]
    y, x = torch.where(turned, x, y), torch.where(turned, y, x)
    y, x = y + top[:, None, None], x + left[:, None, None]  # pixels of the stored picture

    grid = torch.stack([2 * x / side - 1, 2 * y / side - 1], dim=-1)
    frames = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    rows, columns = y.long().clamp(0, side - 1), x.long().clamp(0, side - 1)
    index = torch.arange(count, device=device)[:, None, None]
    labels = part_maps[index, rows, columns].long()
    return frames, torch.where(inside, labels, 0), inside


def _halved(pictures: Pictures, size: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Float images B x 3 x P x P, part maps, sizes and P; smaller ones for small frames.

    ``grid_sample`` takes no means: a picture that is much larger than its frame would be grainy.
    """
    images = pictures.images.permute(0, 3, 1, 2).float()
    side = images.shape[-1]
    if size > side // 2:
        return images, pictures.part_maps, pictures.sizes, side
    return F.avg_pool2d(images, 2), pictures.part_maps[:, ::2, ::2], pictures.sizes / 2, side // 2


def _paste(images: Tensor, part_maps: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """In some pictures, an object of the batch's next picture covers what is there."""
    count, device = len(images), images.device
    other_images, other_parts, other_inside = (
        tensor.roll(1, 0) for tensor in (images, part_maps, inside)
    )
    # the part at a pixel by lot; large objects are likelier
    flat = other_parts.flatten(1)
    pixel = torch.randint(flat.shape[1], (count, 1), device=device)
    number = flat.gather(1, pixel)[:, :, None]
    covered = (other_parts == number) & (number != 0) & (number != UNKNOWN)
    covered &= inside & other_inside & _lot(count, _PASTED_SHARE, device)[:, None, None]
    opacity = F.avg_pool2d(covered[:, None].float(), 3, stride=1, padding=1)  # a soft edge
    pasted = images + (other_images - images) * opacity
    return pasted, torch.where(covered, _PASTED, part_maps)


def _recolour(images: Tensor, exchanged: float) -> Tensor:
    """Other colours, contrast, brightness, sharpness and noise.

    Args:
        exchanged: the share of the pictures whose red, green and blue change places.
    """
    count, device = len(images), images.device

    def lot(share: float) -> Tensor:
        return _lot(count, share, device)[:, None, None, None]

    def between(low: float, high: float) -> Tensor:
        return _between(count, low, high, device)[:, None, None, None]

    order = torch.rand(count, 3, device=device).argsort(1)[:, :, None, None]
    images = torch.where(lot(exchanged), images.gather(1, order.expand_as(images)), images)
    light = images.new_tensor(_LIGHT)[:, None, None]
    grey = (images * light).sum(1, keepdim=True)
    images = torch.where(lot(0.6), grey + (images - grey) * between(0.4, 1.5), images)
    images = torch.where(lot(0.06), grey.expand_as(images), images)
    contrast = (images - 128) * between(0.7, 1.3) + 128 + between(-25, 25)
    images = torch.where(lot(0.6), contrast, images).clamp(0, 255)
    gamma = 255 * (images / 255) ** between(0.6, 1.6)
    images = torch.where(lot(0.4), gamma, images)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    images = torch.where(lot(0.15), F.avg_pool2d(padded, 3, stride=1), images)
    noise = torch.randn_like(images) * between(0, 8)
    return torch.where(lot(0.4), images + noise, images).clamp(0, 255)


def _lot(count: int, share: float, device: torch.device) -> Tensor:
    """True for a share of ``count``, by lot."""
    return torch.rand(count, device=device) < share


def _between(count: int, low: float, high: float, device: torch.device) -> Tensor:
    """Numbers from ``low`` to ``high``, all as likely."""
    return low + (high - low) * torch.rand(count, device=device)
