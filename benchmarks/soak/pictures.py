"""Pictures, prompts on them, and the masks that one thread computes for these prompts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from benchmarks.agreement import as_kept
from demo.smart_regions import Region, keypoint, predict_request, rectangle
from model import interactive
from model.crops import Crop
from model.predictor import Predictor
from model.types import ImageEmbedding, Prompt

WIDTH, HEIGHT = 480, 360
_PROMPTS_A_PICTURE = 6


@dataclass(frozen=True)
class Question:
    """What an annotator does on one picture.

    Attributes:
        picture: the index of the picture.
        regions: smart regions, as the editor sends them.
        mask: H x W, the mask that one thread computes.
    """

    picture: int
    regions: tuple[Region, ...]
    mask: npt.NDArray[np.bool_]

    def body(self, url: str, label_config: str) -> dict[str, Any]:
        """The request of the click, for a picture at a URL."""
        task = {"id": self.picture, "data": {"image": url}}
        return predict_request(task, label_config, *self.regions)


def draw(folder: Path, count: int, seed: int) -> None:
    """Draw pictures of discs: 0.png, 1.png and so on, no two alike."""
    for index in range(count):
        rng = random.Random(f"{seed}-{index}")
        picture = Image.new("RGB", (WIDTH, HEIGHT), _colour(rng))
        canvas = ImageDraw.Draw(picture)
        for _ in range(7):
            x, y, radius = rng.randrange(WIDTH), rng.randrange(HEIGHT), rng.randrange(8, 90)
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng))
        picture.save(folder / f"{index}.png")


def ask(folder: Path, count: int, seed: int, predictor: Predictor) -> list[Question]:
    """Questions on every picture, with the masks that this thread computes."""
    questions = []
    for index in range(count):
        image = np.asarray(Image.open(folder / f"{index}.png"))
        embedding = as_kept(predictor.embed(image))
        rng = random.Random(f"{seed}-questions-{index}")
        for _ in range(_PROMPTS_A_PICTURE):
            regions, prompt = _prompt(rng)
            (prediction,) = interactive.segment(
                predictor,
                embedding,
                [prompt],
                embed_crop=partial(_embed_crop, predictor, image),
            )
            questions.append(Question(index, regions, prediction.mask))
    return questions


def _embed_crop(predictor: Predictor, image: npt.NDArray[np.uint8], crop: Crop) -> ImageEmbedding:
    return as_kept(predictor.embed(crop.cut(image)))


def _prompt(rng: random.Random) -> tuple[tuple[Region, ...], Prompt]:
    """A box, or one to three clicks."""
    if rng.random() < 0.25:
        x, y, width, height = (rng.uniform(5, 45) for _ in range(4))
        region = rectangle(x, y, width, height, width=WIDTH, height=HEIGHT)
        corners = (*_pixel(x, y), *_pixel(x + width, y + height))
        return (region,), Prompt.from_box(corners)
    points = [(rng.uniform(3, 97), rng.uniform(3, 97)) for _ in range(rng.randint(1, 3))]
    signs = [1, *(rng.randint(0, 1) for _ in points[1:])]
    regions = tuple(
        keypoint(x, y, width=WIDTH, height=HEIGHT, is_positive=bool(sign)) | {"id": f"point-{i}"}
        for i, ((x, y), sign) in enumerate(zip(points, signs, strict=True))
    )
    return regions, Prompt.from_points([_pixel(x, y) for x, y in points], signs)


def _pixel(x: float, y: float) -> tuple[float, float]:
    """From percent to pixels; the centre of pixel 0 is at half a pixel."""
    return x / 100 * WIDTH - 0.5, y / 100 * HEIGHT - 0.5


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
