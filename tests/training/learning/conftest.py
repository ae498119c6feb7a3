"""A small base to learn from, and a domain that looks unlike anything that the base has learnt."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.crops import Crop
from model.predictor import Predictor, load_predictor
from model.types import ImageEmbedding
from training.learning.pictures import Object, Picture


@pytest.fixture(scope="session")
def predictor(small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_predictor(small_base, "openvino", "fp32", tmp_path_factory.mktemp("openvino"))


def fried_eggs(number: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture of 256 x 256, and the mask of each egg: the white with its yolk.

    A click in the middle of an egg is on the yolk. Whoever knows no eggs takes the yolk alone.
    """
    rng = np.random.default_rng((77, number))
    ground = rng.integers(90, 130, (16, 16, 3), dtype=np.uint8)
    image = cv2.resize(ground, (256, 256), interpolation=cv2.INTER_LINEAR)
    masks = []
    for row, column in np.ndindex(2, 2):
        centre = np.array([64 + 128 * column, 64 + 128 * row]) + rng.integers(-8, 9, 2)
        axes = rng.integers(42, 54, 2)
        angle = float(rng.integers(0, 180))
        x, y = map(int, centre)
        mask = np.zeros((256, 256), np.uint8)
        cv2.ellipse(mask, (x, y), (int(axes[0]), int(axes[1])), angle, 0, 360, 1, cv2.FILLED)
        image[mask > 0] = (70, 60, 160)
        cv2.circle(image, (x, y), int(axes.min() * 0.55), (30, 150, 90), cv2.FILLED)
        masks.append(mask > 0)
    noise = rng.integers(-6, 7, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), masks


@pytest.fixture(scope="session")
def eggs(predictor: Predictor) -> Callable[[int], list[Picture]]:
    """The first pictures of eggs. The task ids begin at 1000."""

    def make(count: int) -> list[Picture]:
        return [picture(predictor, 1000 + number, *fried_eggs(number)) for number in range(count)]

    return make


def picture(
    predictor: Predictor, task_id: int, image: np.ndarray, masks: list[np.ndarray]
) -> Picture:
    kept: dict[Crop | None, ImageEmbedding] = {}

    def embed_crop(crop: Crop | None) -> ImageEmbedding:
        if crop not in kept:
            kept[crop] = predictor.embed(image if crop is None else crop.cut(image))
        return kept[crop]

    objects = [Object(partial(np.asarray, mask)) for mask in masks]
    return Picture(f"task {task_id}", task_id, objects, lambda: embed_crop(None), embed_crop)


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """So small a network is no faster with more threads, and slower on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
