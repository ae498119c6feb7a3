"""Prompts that the training makes from true masks."""

import numpy as np
import torch

from model.types import BACKGROUND, FOREGROUND
from training.prompts import box_around, click_inside, clicks_of_both_signs, correction_clicks

MASK = np.zeros((64, 96), bool)
MASK[20:40, 30:70] = True


def test_a_click_is_inside_and_rather_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    clicks = np.array([click_inside(rng, MASK) for _ in range(200)])
    assert all(MASK[y, x] for x, y in clicks)
    depth = np.minimum(clicks[:, 1] - 19, 40 - clicks[:, 1])
    assert depth.mean() > 5.5  # 5.25 if every row were as likely


def test_clicks_say_truly_whether_they_are_on_the_object() -> None:
    rng = np.random.default_rng(1)
    signs = set()
    for _ in range(50):
        coords, labels = clicks_of_both_signs(rng, MASK, 6)
        assert labels[0] == FOREGROUND
        for (x, y), label in zip(coords.astype(int), labels, strict=True):
            assert MASK[y, x] == (label == FOREGROUND)
            signs.add(int(label))
    assert signs == {FOREGROUND, BACKGROUND}


def test_a_box_is_around_the_mask() -> None:
    rng = np.random.default_rng(2)
    boxes = np.array([box_around(rng, MASK) for _ in range(100)])
    exact = (boxes == [[30, 20], [69, 39]]).all((1, 2))
    assert 30 < exact.sum() < 70  # the others are drawn carelessly
    assert (np.abs(boxes - [[30, 20], [69, 39]]) <= np.array([40, 20]) * 0.15 + 1e-4).all()


def test_a_correction_is_in_the_error_and_has_its_sign() -> None:
    target = torch.zeros(2, 16, 16, dtype=torch.bool)
    target[:, 2:9, 2:9] = True
    predicted = target.clone()
    predicted[0, 2:9, 2:6] = False  # a missed half
    predicted[1, 10:15, 10:15] = True  # and a piece too much
    torch.manual_seed(0)
    for _ in range(20):
        clicks, labels = correction_clicks(predicted, target, scale=4)
        assert labels.tolist() == [FOREGROUND, BACKGROUND]
        for index, (x, y) in enumerate((clicks / 4).long().tolist()):
            assert predicted[index, y, x] != target[index, y, x]


def test_a_perfect_mask_is_clicked_inside() -> None:
    target = torch.zeros(1, 16, 16, dtype=torch.bool)
    target[:, 2:9, 2:9] = True
    torch.manual_seed(0)
    clicks, labels = correction_clicks(target, target, scale=1)
    x, y = clicks[0].long().tolist()
    assert target[0, y, x]
    assert labels.tolist() == [FOREGROUND]
