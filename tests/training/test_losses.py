"""What the training calls better is better."""

import pytest
import torch

from training.losses import answer_loss, correction_loss, mask_ious, mask_losses

WHOLE = torch.zeros(16, 16)
WHOLE[2:14, 2:14] = 1
PART = torch.zeros(16, 16)
PART[4:8, 4:8] = 1
TARGETS = torch.stack([WHOLE, PART])[None]  # B x 2 x h x w
KNOWN = torch.ones(1, 16, 16)


def logits(*masks: torch.Tensor) -> torch.Tensor:
    return torch.stack([(mask - 0.5) * 20 for mask in masks])[None]


@pytest.mark.parametrize("balance", [0.0, 0.25, 1.0])
def test_the_right_mask_costs_least(balance: float) -> None:
    empty = torch.zeros(16, 16)
    losses = mask_losses(logits(WHOLE, PART, empty, 1 - WHOLE), TARGETS, KNOWN, balance)
    assert losses.shape == (1, 4, 2)
    assert losses[0].argmin(0).tolist() == [0, 1]
    assert losses[0, 0, 0] < 0.02


def test_ious_are_those_of_the_thresholded_masks() -> None:
    ious = mask_ious(logits(WHOLE, PART), TARGETS, KNOWN)
    assert ious[0].tolist() == [[1, pytest.approx(16 / 144)], [pytest.approx(16 / 144), 1]]


def test_an_ambiguous_click_is_free_to_answer_whole_and_part_in_any_order() -> None:
    right = (TARGETS, KNOWN, torch.tensor([True]), 0.5)
    ious = mask_ious(logits(WHOLE, WHOLE, PART, PART), TARGETS, KNOWN)
    true_ious = ious @ torch.tensor([0.7, 0.3])
    both = answer_loss(logits(WHOLE, WHOLE, PART, PART), true_ious, *right)
    same = answer_loss(logits(WHOLE, WHOLE, WHOLE, WHOLE), true_ious, *right)
    assert both < same
    turned_ious = true_ious[:, [0, 2, 3, 1]]
    turned = answer_loss(logits(WHOLE, PART, PART, WHOLE), turned_ious, *right)
    assert turned == pytest.approx(float(both))


def test_any_other_prompt_has_one_answer_the_first() -> None:
    not_ambiguous = torch.tensor([False])
    targets = torch.stack([WHOLE, WHOLE])[None]
    right, wrong = logits(WHOLE, PART, PART, PART), logits(PART, WHOLE, WHOLE, WHOLE)
    ious = torch.ones(1, 4)
    assert answer_loss(right, ious, targets, KNOWN, not_ambiguous, 0.5) < 0.02
    assert answer_loss(wrong, ious, targets, KNOWN, not_ambiguous, 0.5) > 0.5


def test_a_wrong_prediction_of_the_iou_costs() -> None:
    target = WHOLE[None]
    sure = correction_loss(logits(WHOLE, PART, PART, PART), torch.ones(1, 4), target, KNOWN, 0.5)
    unsure = correction_loss(logits(WHOLE, PART, PART, PART), torch.zeros(1, 4), target, KNOWN, 0.5)
    assert unsure - sure == pytest.approx(1.0)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_unknown_cells_count_neither_for_a_mask_nor_against_it(balance: float) -> None:
    known = KNOWN.clone()
    known[:, 14:] = 0
    beyond = WHOLE.clone()
    beyond[14:] = 1
    both = mask_losses(logits(WHOLE, beyond), WHOLE[None, None], known, balance)[0, :, 0]
    assert both[1] == pytest.approx(float(both[0]), abs=1e-6)
    assert mask_ious(logits(beyond), WHOLE[None, None], known).item() == 1
    assert mask_ious(logits(beyond), WHOLE[None, None], KNOWN).item() < 0.9
