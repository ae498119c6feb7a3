"""What the decoder learns from and is judged by: images whose objects somebody has outlined.

The image encoder never changes, so an image is an embedding here, and a crop of it is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial

import numpy as np

from model.crops import Crop
from model.predictor import Predictor
from model.types import ImageEmbedding
from training.labelled_images import LabelledDataset
from training.scenes import Bool


class Origin(Enum):
    """How a mask came about. What a person drew or corrected says more than what was accepted."""

    MANUAL = "drawn by hand"
    CLICKED = "accepted after clicks"
    CORRECTED = "corrected"
    ACCEPTED = "accepted as it was"


class Role(Enum):
    """What the pictures of a task are for. No picture has two roles."""

    LEARN = "learnt from"
    WATCH = "watched for the right moment to stop"
    JUDGE = "held out to judge by"


_KEPT = 32  # embeddings of a dataset: those of one picture and of its crops
_ROLES = (*[Role.LEARN] * 7, Role.WATCH, *[Role.JUDGE] * 2)


@dataclass(frozen=True, eq=False)
class Object:
    """One object of a picture.

    Attributes:
        read: reads the mask, H x W, which is not empty. Large masks are not kept in memory.
        origin: how the mask came about.
    """

    read: Callable[[], Bool]
    origin: Origin = Origin.MANUAL

    @property
    def mask(self) -> Bool:
        """The mask, H x W. Each use reads the mask anew."""
        return self.read()


@dataclass(frozen=True, eq=False)
class Picture:
    """One annotated image.

    Attributes:
        name: the name that people read.
        task_id: the task that shows the image.
        objects: the annotated objects.
        embed: the embedding of the image.
        embed_crop: the embedding of a crop of the image; None where the image is gone.
    """

    name: str
    task_id: int
    objects: Sequence[Object]
    embed: Callable[[], ImageEmbedding]
    embed_crop: Callable[[Crop], ImageEmbedding | None]


def role_of(task_id: int) -> Role:
    """What a task is for. It never changes, whatever tasks come or go.

    Of ten tasks with ids from a multiple of ten on, chance gives seven to learning, one to
    watching and two to judging. Chance comes from a hash of the ids.
    """
    block, place = divmod(task_id, len(_ROLES))
    digest = hashlib.sha256(f"roles of {block}".encode()).digest()
    order = sorted(range(len(_ROLES)), key=lambda index: digest[index])
    return _ROLES[order.index(place)]


def by_role(pictures: Sequence[Picture]) -> Mapping[Role, list[Picture]]:
    """The pictures of each role, in their order."""
    return {
        role: [picture for picture in pictures if role_of(picture.task_id) is role] for role in Role
    }


def pictures_of(dataset: LabelledDataset, predictor: Predictor) -> list[Picture]:
    """The pictures of a labelled dataset. The task ids are the numbers of the images."""
    images = [dataset.load(index) for index in range(len(dataset))]

    @lru_cache(_KEPT)
    def embed(number: int, crop: Crop | None) -> ImageEmbedding:
        image = images[number].image
        return predictor.embed(image if crop is None else crop.cut(image))

    return [
        Picture(
            labelled.name,
            number,
            [Object(partial(np.asarray, mask)) for mask in labelled.masks.values()],
            partial(embed, number, None),
            partial(embed, number),
        )
        for number, labelled in enumerate(images)
    ]
