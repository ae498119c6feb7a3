"""The losses of the training: masks, the choice among three answers, the predicted IoU.

Masks have h x w cells. ``known`` is the share of each cell whose object is known; the rest of the
cell counts neither for a mask nor against it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# After an ambiguous click people mean the whole object more often than the part under the cursor.
WHOLE_SHARE = 0.7
_SINGLE_MASK_SHARE = 0.5


def mask_losses(
    low_res_masks: Tensor, targets: Tensor, known: Tensor, balance: Tensor | float
) -> Tensor:
    """Dice plus binary cross-entropy of every mask against every target.

    Args:
        low_res_masks: B x M x h x w logits.
        targets: B x T x h x w, 0 to 1.
        known: B x h x w, 0 to 1.
        balance: 1 gives the object and its surroundings equal weight however small the object
            is; without that, training stays at the empty mask. 0 counts every pixel alike.

    Returns:
        B x M x T.
    """
    masks = low_res_masks.flatten(2)[:, :, None].float()  # B x M x 1 x hw
    targets = targets.flatten(2)[:, None]  # B x 1 x T x hw
    known = known.flatten(1)[:, None, None]  # B x 1 x 1 x hw
    counted = targets * known
    probability = masks.sigmoid()
    total = (probability * known).sum(-1) + counted.sum(-1)
    dice = 1 - (2 * (probability * counted).sum(-1) + 1) / (total + 1)

    area = known.sum(-1, keepdim=True).clamp(min=1)
    share = (counted.sum(-1, keepdim=True) / area).clamp(1e-3, 1 - 1e-3)
    odds = ((1 - share) / share) ** balance
    weights = known * (1 + (odds - 1) * targets) / (1 + (odds - 1) * share)
    # softplus(x) - x t is the cross-entropy of a logit x, without expanding x T times
    cross_entropy = (weights * (F.softplus(masks) - masks * targets)).mean(-1)
    return dice + cross_entropy


@torch.no_grad()
def mask_ious(low_res_masks: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """IoU of every mask with every target, shapes as in :func:`mask_losses`; B x M x T."""
    is_known = (known.flatten(1) > 0.5).float()[:, None]
    masks = (low_res_masks.flatten(2) > 0).float() * is_known
    truth = (targets.flatten(2) > 0.5).float() * is_known
    intersection = masks @ truth.transpose(1, 2)
    union = masks.sum(-1)[:, :, None] + truth.sum(-1)[:, None] - intersection
    return intersection / union.clamp(min=1)


def answer_loss(
    low_res_masks: Tensor,
    iou_predictions: Tensor,
    targets: Tensor,
    known: Tensor,
    is_single_click: Tensor,
    balance: Tensor | float,
) -> Tensor:
    """The loss of each first answer.

    After a single click, the best of the three ambiguous masks is trained towards the whole
    object, and the best towards the part. The IoU to predict is the mean of the two IoUs, since
    either may be meant. After any other prompt the single mask counts.

    Args:
        low_res_masks: B x 4 x h x w logits.
        iou_predictions: B x 4.
        targets: B x 2 x h x w, 0 to 1: whole and part.
        known: B x h x w, 0 to 1.
        is_single_click: B bool.
        balance: see :func:`mask_losses`.

    Returns:
        B.
    """
    losses = mask_losses(low_res_masks, targets, known, balance)  # B x 4 x 2
    best = losses[:, 1:].amin(1)  # B x 2
    best_of_three = WHOLE_SHARE * best[:, 0] + (1 - WHOLE_SHARE) * best[:, 1]
    single = losses[:, 0, 0]
    ambiguous = best_of_three + _SINGLE_MASK_SHARE * single
    ious = mask_ious(low_res_masks, targets, known)
    expected = WHOLE_SHARE * ious[..., 0] + (1 - WHOLE_SHARE) * ious[..., 1]
    iou_errors = (iou_predictions.float() - expected) ** 2
    iou_error = torch.where(is_single_click, iou_errors[:, 1:].sum(1), iou_errors[:, 0])
    return torch.where(is_single_click, ambiguous, single) + iou_error


def correction_loss(
    low_res_masks: Tensor,
    iou_predictions: Tensor,
    targets: Tensor,
    known: Tensor,
    balance: Tensor | float,
) -> Tensor:
    """The loss of each answer to a prompt that is not ambiguous, B; ``targets`` is B x h x w."""
    single, target = low_res_masks[:, :1], targets[:, None]
    loss = mask_losses(single, target, known, balance)[:, 0, 0]
    iou_error = iou_predictions[:, 0].float() - mask_ious(single, target, known)[:, 0, 0]
    return loss + iou_error**2
