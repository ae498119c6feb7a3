"""The comparison of rules, on answers whose worth is known."""

import sys
from collections.abc import Callable

import numpy as np
import pytest

from training import choice
from training.choice import RULES, anywhere, compare, in_the_centre, offers
from training.labelled_images import LabelledDataset, LabelledImage

SHAPE = (40, 60)


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


WHOLE, PART, ALL = rectangle(10, 10, 30, 50), rectangle(10, 10, 30, 20), rectangle(0, 0, 40, 60)


def one_object(target: np.ndarray) -> LabelledDataset:
    image = np.zeros((*SHAPE, 3), np.uint8)
    return LabelledDataset("one", 1, lambda index: LabelledImage("one", image, {"it": target}))


def test_an_offer_says_what_the_masks_are(answering: Callable) -> None:
    predictor = answering(PART, WHOLE, ALL, iou_predictions=(0.9, 0.7, 0.5))
    (offer,) = offers(predictor, one_object(WHOLE), in_the_centre)
    assert offer.predicted.tolist() == [0.9, 0.7, 0.5]
    assert offer.actual.tolist() == [0.25, 1, 800 / 2400]
    assert offer.area.tolist() == pytest.approx([200 / 2400, 800 / 2400, 1])
    assert offer.overlap[0].tolist() == pytest.approx([1, 0.25, 200 / 2400])
    assert offer.held[1].tolist() == pytest.approx([1, 1, 800 / 2400])
    assert offer.central[0] < 0.3  # the click is at the edge of the part
    assert offer.central[1] == pytest.approx(1, abs=0.1)
    chosen = {name: int(rule(offer).argmax()) for name, rule in RULES.items()}
    assert chosen["predicted IoU (served)"] == 0
    assert chosen["predicted IoU + 0.3 centre"] == 1
    assert chosen["best of the three (oracle)"] == 1


def test_clicks_are_on_the_object() -> None:
    assert in_the_centre(WHOLE)[1] in (19, 20)
    x, y = anywhere(PART)
    assert PART[y, x]
    assert anywhere(PART) == (x, y)


def test_rules_are_compared_by_dataset(answering: Callable) -> None:
    predictor = answering(PART, WHOLE, ALL, iou_predictions=(0.9, 0.7, 0.5))
    found = {
        name: list(offers(predictor, one_object(target), in_the_centre))
        for name, target in (("whole", WHOLE), ("part", PART))
    }
    rows = {name: numbers for name, *numbers in compare(found)}
    assert rows["predicted IoU (served)"] == [pytest.approx((0.25 + 1) / 2), 0, 0]
    assert rows["best of the three (oracle)"] == [1, 1, 0]


def test_a_mistake_is_answered_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["choice", "nowhere"])
    with pytest.raises(SystemExit, match="no folder and no file nowhere"):
        choice.main()
