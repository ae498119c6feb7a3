"""What becomes of the objects of a picture: whole images, crops, targets."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from backend.images.errors import ImageError
from model.crops import Crop
from model.predictor import Predictor
from model.types import ImageEmbedding
from training.learning.lessons import Lessons, read_lessons, write_lessons
from training.learning.pictures import Object, Origin, Picture

pytestmark = pytest.mark.slow

SIZE = (120, 240)  # half of a frame of 256 pixels is beside the picture
LARGE, SMALL = (slice(20, 100), slice(40, 160)), (slice(50, 60), slice(200, 212))


def mask(place: tuple[slice, slice]) -> np.ndarray:
    found = np.zeros(SIZE, dtype=bool)
    found[place] = True
    return found


def picture(predictor: Predictor, *objects: Object) -> Picture:
    image = np.full((*SIZE, 3), 120, np.uint8)

    def embed_crop(crop: Crop) -> ImageEmbedding:
        return predictor.embed(crop.cut(image))

    return Picture("task 1", 1, objects, lambda: predictor.embed(image), embed_crop)


def lessons_of(folder: Path, predictor: Predictor, *objects: Object) -> Lessons:
    assert write_lessons(folder, [picture(predictor, *objects)], predictor) == []
    return read_lessons(folder, predictor)


def test_a_large_object_is_a_lesson_in_the_whole_image(
    tmp_path: Path, predictor: Predictor
) -> None:
    lessons = lessons_of(tmp_path, predictor, Object(partial(mask, LARGE)))
    assert len(lessons) == 1
    batch = lessons.select(np.array([0]), "cpu")
    scale = 256 / 240  # original pixels to the input frame
    assert batch.boxes[0].numpy() == pytest.approx(np.array([[40, 20], [159, 99]]) * scale)
    area = 80 * 120 * (scale / 4) ** 2
    assert float(batch.targets.sum()) == pytest.approx(area, rel=0.02)
    assert batch.known[0, :32].min() == 1  # the picture
    assert batch.known[0, 32:].max() == 0  # beside it


def test_the_embedding_is_that_of_the_image(tmp_path: Path, predictor: Predictor) -> None:
    lessons = lessons_of(tmp_path, predictor, Object(partial(mask, LARGE)))
    expected = picture(predictor).embed().features.astype(np.float16)
    assert (lessons.features == expected).all()


def test_a_small_object_is_also_a_lesson_in_its_crop(tmp_path: Path, predictor: Predictor) -> None:
    lessons = lessons_of(
        tmp_path, predictor, Object(partial(mask, LARGE)), Object(partial(mask, SMALL))
    )
    assert lessons.view.tolist() == [0, 0, 1]
    whole, in_crop = (float(lessons.targets[row].sum()) for row in (1, 2))
    assert in_crop > 3 * whole


def test_a_small_object_may_be_learnt_less_often_in_the_whole_image(
    tmp_path: Path, predictor: Predictor
) -> None:
    objects = [Object(partial(mask, LARGE)), Object(partial(mask, SMALL))]
    write_lessons(tmp_path, [picture(predictor, *objects)], predictor, small_in_whole=0.2)
    assert read_lessons(tmp_path, predictor).weights == pytest.approx([1, 0.2, 1])


def test_what_was_accepted_as_it_was_is_chosen_less_often(
    tmp_path: Path, predictor: Predictor
) -> None:
    objects = [Object(partial(mask, LARGE), origin) for origin in Origin]
    weights = dict(zip(Origin, lessons_of(tmp_path, predictor, *objects).weights, strict=True))
    assert weights[Origin.ACCEPTED] < weights[Origin.CORRECTED] == weights[Origin.MANUAL]


def test_an_image_that_is_gone_is_named_and_the_others_are_learnt(
    tmp_path: Path, predictor: Predictor
) -> None:
    def gone() -> ImageEmbedding:
        raise ImageError("the host does not answer")

    lost = Picture("task 2", 2, [Object(partial(mask, LARGE))], gone, lambda crop: None)
    there = picture(predictor, Object(partial(mask, LARGE)))
    assert write_lessons(tmp_path, [lost, there], predictor) == ["task 2: the host does not answer"]
    assert len(read_lessons(tmp_path, predictor)) == 1


def test_no_pictures_are_no_lessons(tmp_path: Path, predictor: Predictor) -> None:
    write_lessons(tmp_path, [], predictor)
    assert len(read_lessons(tmp_path, predictor)) == 0
