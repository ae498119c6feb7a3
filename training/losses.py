"""What a prediction costs: mask losses, the choice among three answers, the predicted IoU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Of an ambiguous click: people mean the whole thing more often than the part under the cursor.
WHOLE_SHARE = 0.7
_SINGLE_MASK_SHARE = 0.5


def mask_losses(low_res_masks: Tensor, targets: Tensor, balance: float) -> Tensor:
    """Dice plus binary cross-entropy of every mask against every target.

    Args:
        low_res_masks: B x M x h x w logits.
        targets: B x T x h x w, 0 to 1.
        balance: 1 gives the object and its surroundings equal weight however small the object
            is, without which training stays at the empty mask; 0 counts every pixel alike.

    Returns:
        B x M x T.
    """
    masks = low_res_masks.flatten(2)[:, :, None]  # B x M x 1 x hw
    targets = targets.flatten(2)[:, None]  # B x 1 x T x hw
    probability = masks.sigmoid()
    total = probability.sum(-1) + targets.sum(-1)
    dice = 1 - (2 * (probability * targets).sum(-1) + 1) / (total + 1)

    share = targets.mean(-1, keepdim=True).clamp(1e-3, 1 - 1e-3)
    odds = ((1 - share) / share) ** balance
    weights = (1 + (odds - 1) * targets) / (1 + (odds - 1) * share)
    # softplus(x) - x t is the cross-entropy of a logit x, written so as not to expand x T times
    cross_entropy = (weights * (F.softplus(masks) - masks * targets)).mean(-1)
    return dice + cross_entropy


@torch.no_grad()
def mask_ious(low_res_masks: Tensor, targets: Tensor) -> Tensor:
    """IoU of every mask with every target, shapes as in :func:`mask_losses`; B x M x T."""
    masks = (low_res_masks.flatten(2) > 0).float()
    truth = (targets.flatten(2) > 0.5).float()
    intersection = masks @ truth.transpose(1, 2)
    union = masks.sum(-1)[:, :, None] + truth.sum(-1)[:, None] - intersection
    return intersection / union.clamp(min=1)


def answer_loss(
    low_res_masks: Tensor,
    iou_predictions: Tensor,
    targets: Tensor,
    is_single_click: Tensor,
    balance: float,
) -> Tensor:
    """The loss of first answers.

    After a single click the best of the three ambiguous masks is trained towards the whole
    object and the best towards the part, and the IoU to predict is the one to expect when either
    may be meant. After any other prompt it is the single mask that counts.

    Args:
        low_res_masks: B x 4 x h x w logits.
        iou_predictions: B x 4.
        targets: B x 2 x h x w, 0 to 1: whole and part.
        is_single_click: B bool.
        balance: see :func:`mask_losses`.

    Returns:
        A scalar.
    """
    losses = mask_losses(low_res_masks, targets, balance)  # B x 4 x 2
    shares = losses.new_tensor([WHOLE_SHARE, 1 - WHOLE_SHARE])
    best_of_three = losses[:, 1:].amin(1) @ shares
    single = losses[:, 0, 0]
    ambiguous = best_of_three + _SINGLE_MASK_SHARE * single
    iou_errors = (iou_predictions - mask_ious(low_res_masks, targets) @ shares) ** 2
    iou_error = torch.where(is_single_click, iou_errors[:, 1:].sum(1), iou_errors[:, 0])
    return (torch.where(is_single_click, ambiguous, single) + iou_error).mean()


def correction_loss(
    low_res_masks: Tensor, iou_predictions: Tensor, targets: Tensor, balance: float
) -> Tensor:
    """The loss of answers to prompts that leave no choice; ``targets`` is B x h x w."""
    single, target = low_res_masks[:, :1], targets[:, None]
    loss = mask_losses(single, target, balance).mean()
    iou_error = (iou_predictions[:, 0] - mask_ious(single, target)[:, 0, 0]) ** 2
    return loss + iou_error.mean()
