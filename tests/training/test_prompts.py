"""Prompts that the training makes from part maps."""

import pytest
import torch

from model.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING
from training.augmentation import Frames
from training.pool import UNKNOWN
from training.prompts import BOXES, CLICKS, Questions, ask, correction_clicks, coverage

SIZE, IMAGES = 64, 40
BODY = (slice(16, 48), slice(8, 56))
MARK = (slice(24, 36), slice(20, 40))  # a part of the same object


@pytest.fixture
def frames() -> Frames:
    """One object of two parts, and unknown pixels at the bottom."""
    torch.manual_seed(0)
    part_maps = torch.zeros(IMAGES, SIZE, SIZE, dtype=torch.int64)
    part_maps[:, *BODY] = 1
    part_maps[:, *MARK] = 2
    part_maps[:, 56:] = UNKNOWN
    owners = torch.zeros(IMAGES, 256, dtype=torch.uint8)
    owners[:, 1:3] = 1
    owners[:, UNKNOWN] = 7
    return Frames(torch.zeros(IMAGES, 3, SIZE, SIZE), part_maps, owners)


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    whole, part = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    whole[BODY], part[MARK] = True, True
    return whole, part


def questions_of(frames: Frames) -> tuple[Questions, torch.Tensor]:
    questions = ask(frames)
    assert len(questions.weight) == IMAGES * (CLICKS + BOXES)
    assert questions.prompts.image_index.tolist() == sorted(questions.prompts.image_index.tolist())
    return questions, questions.is_single_click


def test_a_click_means_the_object_and_the_part_under_it(frames: Frames) -> None:
    whole, part = masks()
    questions, is_click = questions_of(frames)
    assert int(is_click.sum()) == IMAGES * CLICKS
    labels = questions.prompts.point_labels[is_click]
    assert (labels == torch.tensor([FOREGROUND, PADDING])).all()
    assert (questions.targets[is_click, 0] == coverage(whole[None])[0]).all()
    on_mark = 0
    for (x, y), target in zip(
        questions.prompts.point_coords[is_click, 0].long().tolist(),
        questions.targets[is_click, 1],
        strict=True,
    ):
        assert whole[y, x]
        on_mark += bool(part[y, x])
        expected = part if part[y, x] else whole & ~part
        assert (target == coverage(expected[None])[0]).all()
    assert 10 < on_mark < IMAGES * CLICKS - 10


def test_a_click_is_rather_in_the_middle(frames: Frames) -> None:
    questions, is_click = questions_of(frames)
    y = questions.prompts.point_coords[is_click, 0, 1]
    depth = torch.minimum(y - 16, 47 - y)
    assert depth.mean() > 8.5  # 7.75 if every row were as likely


def test_a_box_is_around_what_it_means(frames: Frames) -> None:
    whole, part = masks()
    questions, is_click = questions_of(frames)
    boxes = questions.prompts.point_coords[~is_click]
    labels = questions.prompts.point_labels[~is_click]
    assert (labels == torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT])).all()
    targets = questions.targets[~is_click]
    assert (targets[:, 0] == targets[:, 1]).all()
    exact = 0
    for box, target in zip(boxes, targets[:, 0], strict=True):
        means_part = bool((target == coverage(part[None])[0]).all())
        rows, columns = MARK if means_part else BODY
        if not means_part and not bool((target == coverage(whole[None])[0]).all()):
            continue  # around the part of the body beside the mark
        corners = torch.tensor(
            [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]], dtype=torch.float32
        )
        sides = corners[1] - corners[0] + 1
        assert ((box - corners).abs() <= 0.15 * sides + 1e-4).all()
        exact += bool((box == corners).all())
    assert 20 < exact < IMAGES * BOXES - 20  # the others are drawn carelessly


def test_unknown_pixels_are_not_asked_for(frames: Frames) -> None:
    questions, _ = questions_of(frames)
    unknown = torch.zeros(SIZE // 4, SIZE // 4)
    unknown[14:] = 1
    assert (questions.known == 1 - unknown).all()
    assert (questions.targets[:, :, 14:] == 0).all()


def test_an_image_without_objects_has_no_weight(frames: Frames) -> None:
    frames.part_maps[0] = 0
    questions, _ = questions_of(frames)
    has_object = questions.prompts.image_index > 0
    assert (questions.weight == has_object.float()).all()


class TestCorrections:
    TARGET = torch.zeros(2, 16, 16)
    TARGET[:, 2:9, 2:9] = 1
    KNOWN = torch.ones(2, 16, 16)

    def test_they_are_in_the_error_and_have_its_sign(self) -> None:
        predicted = self.TARGET.clone()
        predicted[0, 2:9, 2:6] = 0  # a missed half
        predicted[1, 10:15, 10:15] = 1  # and a piece too much
        torch.manual_seed(0)
        for _ in range(20):
            clicks, labels = correction_clicks(predicted - 0.5, self.TARGET, self.KNOWN)
            assert labels.tolist() == [FOREGROUND, BACKGROUND]
            for index, (x, y) in enumerate((clicks / 4).long().tolist()):
                assert predicted[index, y, x] != self.TARGET[index, y, x]

    def test_a_perfect_mask_is_clicked_inside(self) -> None:
        torch.manual_seed(0)
        clicks, labels = correction_clicks(self.TARGET - 0.5, self.TARGET, self.KNOWN)
        for index, (x, y) in enumerate((clicks / 4).long().tolist()):
            assert self.TARGET[index, y, x]
        assert labels.tolist() == [FOREGROUND, FOREGROUND]

    def test_unknown_pixels_are_no_error(self) -> None:
        predicted = self.TARGET.clone()
        predicted[:, 12:] = 1
        known = self.KNOWN.clone()
        known[:, 12:] = 0
        torch.manual_seed(0)
        _, labels = correction_clicks(predicted - 0.5, self.TARGET, known)
        assert labels.tolist() == [FOREGROUND, FOREGROUND]
