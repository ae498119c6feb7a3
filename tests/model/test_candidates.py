"""Candidates at the size of the network's answer: duplicates, large masks, stability."""

import numpy as np
import pytest

from model.candidates import Candidates, stability_scores


def squares(*sides: int) -> np.ndarray:
    """Logits of squares at the top left of 10 x 20 cells, one for each side."""
    logits = np.full((len(sides), 10, 20), -3, np.float32)
    for mask, side in zip(logits, sides, strict=True):
        mask[:side, :side] = 3
    return logits


def test_of_two_masks_alike_the_better_one_stays() -> None:
    found = Candidates.of(squares(8, 4, 9, 8), np.array([0.8, 0.7, 0.9, 0.95], np.float32))
    assert found.distinct(0.7).areas.tolist() == [64, 16]
    assert found.distinct(0.7).iou_predictions.tolist() == pytest.approx([0.95, 0.7])
    # 64 of 81 cells: an IoU of 0.79. The two squares of 64 cells are the same.
    assert found.distinct(0.8).areas.tolist() == [64, 81, 16]
    assert len(found.distinct(0.1)) == 1


def test_large_masks_are_those_that_cover_a_share_of_the_image() -> None:
    found = Candidates.of(squares(2, 5, 10), np.ones(3, np.float32))
    assert found.of_area(0.12).areas.tolist() == [25, 100]
    assert len(found.of_area(0.6)) == 0


def test_no_candidates_can_be_joined_with_others() -> None:
    none = Candidates.none((10, 20))
    some = Candidates.of(squares(3), np.ones(1, np.float32))
    assert len(none.distinct(0.7)) == 0
    assert Candidates.joined([none, some, none]).areas.tolist() == [9]


def test_a_mask_with_steep_edges_is_stable() -> None:
    steep = squares(4)[0]
    soft = np.where(steep > 0, 0.5, -3)
    empty = np.full_like(steep, -3)
    wide = np.where(steep > 0, 3, -0.5)
    scores = stability_scores(np.stack([steep, soft, empty, wide]).astype(np.float32), 1.0)
    assert scores.tolist() == pytest.approx([1, 0, 0, 16 / 200])
