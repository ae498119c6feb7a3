"""Synthetic scenes: the same from the same seed, every mask where the picture shows the object."""

import numpy as np
import pytest

from training.scenes import Scene, generate


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate(np.random.default_rng(seed), 160) for seed in range(12)]


def test_equal_generators_draw_equal_scenes(scenes: list[Scene]) -> None:
    again = generate(np.random.default_rng(3), 160)
    assert (again.image == scenes[3].image).all()
    assert (again.part_map == scenes[3].part_map).all()
    assert not (scenes[4].image == scenes[3].image).all()


def test_pictures_are_pictures(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (160, 160, 3)
        assert scene.image.dtype == np.uint8
        assert scene.image.std() > 5


def test_every_mask_shows_something(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.object_masks
        areas = [np.count_nonzero(mask) for mask in scene.object_masks]
        assert areas == sorted(areas, reverse=True)
        assert areas[-1] >= 0.0005 * 160 * 160


def test_objects_do_not_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert np.sum(scene.object_masks, axis=0).max() == 1


def test_every_part_belongs_to_one_object(scenes: list[Scene]) -> None:
    assert any(scene.part_masks for scene in scenes)
    for scene in scenes:
        for part in scene.part_masks:
            (owner,) = np.unique(scene.object_map[part])
            assert owner
            assert np.count_nonzero(part) < np.count_nonzero(scene.object_map == owner)


def test_the_background_belongs_to_no_object(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.owners[0] == 0
        assert ((scene.part_map == 0) == (scene.object_map == 0)).all()
