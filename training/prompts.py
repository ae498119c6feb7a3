"""Prompts and their right answers, made on the device: clicks, boxes, and clicks that correct.

Masks of one frame of S pixels have S/4 cells. A target is the share of each cell that the object
covers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING
from training.augmentation import Frames
from training.pool import UNKNOWN

LOW_RES = 4  # pixels of the input frame to one cell of the masks
# Prompts to each image. They are cheap: the decoder is a tenth of the encoder's work.
CLICKS, BOXES = 3, 2
_SMALLEST = 29 / 256**2  # share of the frame; objects and parts below it are not asked for
_PART_SHARE = 0.2  # of the boxes are around one part of an object


@dataclass(frozen=True)
class PromptBatch:
    """Prompts with the same number of points, on several images.

    Attributes:
        image_index: B, the image of each prompt in the batch of images.
        point_coords: B x N x 2, (x, y) in pixels of the input frame.
        point_labels: B x N, as ``model.types.Prompt.point_labels``.
    """

    image_index: Tensor
    point_coords: Tensor
    point_labels: Tensor

    def with_click(self, click: Tensor, label: Tensor) -> PromptBatch:
        """The same prompts, each with one more click (B x 2, and B labels)."""
        return PromptBatch(
            self.image_index,
            torch.cat([self.point_coords, click[:, None]], dim=1),
            torch.cat([self.point_labels, label[:, None]], dim=1),
        )

    def select(self, chosen: Tensor) -> PromptBatch:
        """The prompts with the given indices."""
        return PromptBatch(
            self.image_index[chosen], self.point_coords[chosen], self.point_labels[chosen]
        )


@dataclass(frozen=True)
class Questions:
    """Prompts and their right answers.

    Attributes:
        prompts: of two points each: a click and a padding point, or the corners of a box.
        targets: B x 2 x S/4 x S/4, 0 to 1: first the whole object, then the part under the click.
            A prompt that is not ambiguous has the same mask twice.
        known: B x S/4 x S/4, 0 to 1, the share of each cell whose object is known.
        is_single_click: B bool; these prompts are ambiguous.
        weight: B; 0 where an image has no object to ask for, else 1.
    """

    prompts: PromptBatch
    targets: Tensor
    known: Tensor
    is_single_click: Tensor
    weight: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All arrays, in their order; see :meth:`of_tensors`."""
        prompts = self.prompts
        return (
            prompts.image_index, prompts.point_coords, prompts.point_labels,
            self.targets, self.known, self.is_single_click, self.weight,
        )  # fmt: skip

    @classmethod
    def of_tensors(cls, tensors: tuple[Tensor, ...]) -> Questions:
        """The questions of such arrays."""
        return cls(PromptBatch(*tensors[:3]), *tensors[3:])


def ask(frames: Frames) -> Questions:
    """``CLICKS`` single clicks and ``BOXES`` boxes on each image, the clicks of an image first."""
    part_maps = frames.part_maps
    count, size, _ = part_maps.shape
    device = part_maps.device
    object_maps = frames.owners.long().gather(1, part_maps.flatten(1)).view_as(part_maps)
    object_maps = torch.where(part_maps == UNKNOWN, 0, object_maps)
    least = _SMALLEST * size * size
    numbers, has_object = _choose_objects(object_maps, CLICKS + BOXES, least)
    image = torch.arange(count, device=device)[:, None].expand_as(numbers).reshape(-1)
    number = numbers.reshape(-1)[:, None, None]
    is_click = (torch.arange(CLICKS + BOXES, device=device) < CLICKS).repeat(count)

    whole_mask = object_maps[image] == number
    whole = coverage(whole_mask)
    click = first_clicks(whole)
    columns, rows = click.long().clamp(0, size - 1).unbind(1)
    part_mask = part_maps[image] == part_maps[image, rows, columns][:, None, None]
    is_on_it = object_maps[image, rows, columns] == number[:, 0, 0]
    is_part = is_on_it & (part_mask.flatten(1).sum(1) >= least)
    part = torch.where(is_part[:, None, None], coverage(part_mask), whole)

    # A box around a part means that part.
    boxes_part = is_part & ~is_click & (torch.rand(len(image), device=device) < _PART_SHARE)
    meant = boxes_part[:, None, None]
    first = torch.where(meant, part, whole)
    second = torch.where(is_click[:, None, None], part, first)
    corners = drawn_boxes(_box_around(torch.where(meant, part_mask, whole_mask)), size)
    clicks = torch.stack([click, torch.zeros_like(click)], dim=1)
    labels = torch.where(
        is_click[:, None],
        torch.tensor([FOREGROUND, PADDING], device=device),
        torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], device=device),
    )
    coords = torch.where(is_click[:, None, None], clicks, corners)
    return Questions(
        prompts=PromptBatch(image, coords, labels),
        targets=torch.stack([first, second], dim=1),
        known=1 - coverage(part_maps == UNKNOWN)[image],
        is_single_click=is_click,
        weight=has_object[image].float(),
    )


def first_clicks(cover: Tensor) -> Tensor:
    """A click on each object, B x 2 (x, y) in the input frame.

    Args:
        cover: B x h x w, the share of each cell that the object covers.
    """
    return _spot(_pick(_inside(cover)), cover.shape[-1])


def drawn_boxes(corners: Tensor, size: int) -> Tensor:
    """Boxes as people draw them: half of the boxes are exact, half are drawn carelessly.

    Args:
        corners: B x 2 x 2 (x, y), the first and the last pixel of each exact box.
        size: S; a box stays in the input frame.

    Returns:
        B x 2 x 2.
    """
    sides = corners[:, 1:] - corners[:, :1] + 1
    is_careless = torch.rand(len(corners), 1, 1, device=corners.device) < 0.5
    error = (torch.randn_like(corners) * 0.06).clamp(-0.15, 0.15) * sides
    return (corners + torch.where(is_careless, error, 0.0)).clamp(0, size - 1)


def correction_clicks(
    low_res_masks: Tensor, targets: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """A click in the errors of each mask, more often in the middle of a large error.

    Args:
        low_res_masks: B x h x w logits.
        targets: B x h x w, 0 to 1.
        known: B x h x w, 0 to 1.

    Returns:
        Clicks, B x 2 (x, y) in the input frame, and labels, B: foreground where the mask missed
        the object, background where it went beyond it.
    """
    is_object = targets > 0.5
    errors = ((low_res_masks > 0) != is_object).float() * known
    depth = F.avg_pool2d(errors[:, None], 5, stride=1, padding=2)[:, 0]
    # a perfect mask is clicked anywhere inside
    cell = _pick(errors * depth**3 + 1e-6 * targets)
    labels = is_object.flatten(1).gather(1, cell[:, None])[:, 0].long()
    return _spot(cell, targets.shape[-1]), labels


def coverage(masks: Tensor) -> Tensor:
    """The share of each cell that a mask covers: B x S x S bool to B x S/4 x S/4."""
    return F.avg_pool2d(masks[:, None].float(), LOW_RES)[:, 0]


def _choose_objects(object_maps: Tensor, count: int, least: float) -> tuple[Tensor, Tensor]:
    """Object numbers by lot, B x ``count``, and whether the image has an object, B.

    The chance grows with the square root of the area, or crowds of small objects would make up
    most of the lessons.
    """
    images = len(object_maps)
    offsets = 256 * torch.arange(images, device=object_maps.device)[:, None]
    numbers = (object_maps.flatten(1) + offsets).flatten()
    area = torch.bincount(numbers, minlength=256 * images).view(images, 256).float()
    area[:, 0] = 0
    weights = torch.where(area >= least, area.sqrt(), 0.0)
    has_object = weights.sum(1) > 0
    weights[:, 0] = (~has_object).float()
    return torch.multinomial(weights, count, replacement=True), has_object


def _inside(cover: Tensor) -> Tensor:
    """Weights of a click's place: people click inside an object, but not in its exact middle."""
    depth = F.avg_pool2d((cover > 0.5).float()[:, None], 7, stride=1, padding=3)[:, 0]
    return cover**2 * (0.02 + depth**3)


def _pick(weights: Tensor) -> Tensor:
    """A cell by lot, B; B x h x w weights. Unlike ``multinomial``, it never stops a GPU."""
    flat = weights.flatten(1) + 1e-12
    return (flat / torch.empty_like(flat).exponential_()).argmax(1)


def _spot(cell: Tensor, width: int) -> Tensor:
    """A pixel of the input frame in each cell: B to B x 2 (x, y)."""
    corner = torch.stack([cell % width, cell // width], dim=1) * LOW_RES
    return corner + torch.rand(len(cell), 2, device=cell.device) * (LOW_RES - 1)


def _box_around(masks: Tensor) -> Tensor:
    """The corners of each mask's bounding box, B x 2 x 2 (x, y)."""
    size = masks.shape[-1]
    ends = []
    for axis in (1, 2):  # columns, then rows
        taken = masks.any(axis).float()
        ends.append(torch.stack([taken.argmax(1), size - 1 - taken.flip(1).argmax(1)], dim=1))
    return torch.stack(ends, dim=2).float()  # B x first, last x (x, y)
