"""Stored pictures: how they get there, and that each variation keeps image and parts together."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model.architecture import PIXEL_MEAN
from training.augmentation import Frames, photograph_frames, scene_frames
from training.labelled_images import LabelledDataset, LabelledImage
from training.pool import UNKNOWN, PhotographPool, Pictures, ScenePool

SIDE = 64
RED, GREY = torch.tensor([250.0, 10.0, 10.0]), torch.tensor([90.0, 90.0, 90.0])


def photographs(count: int, size: tuple[int, int] = (120, 60)) -> LabelledDataset:
    """A disc on grey; its value in the red channel is the number of the picture."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    disc = (rows - 40) ** 2 + (columns - 30) ** 2 <= 20**2
    unknown = np.broadcast_to(rows > 100, size)

    def load(index: int) -> LabelledImage:
        image = np.full((*size, 3), 90, np.uint8)
        image[disc] = (100 + index, 10, 10)
        return LabelledImage(str(index), image, {"disc": disc}, unknown=unknown)

    return LabelledDataset("discs", count, load)


def test_photographs_are_made_as_large_as_the_store() -> None:
    pool = PhotographPool([photographs(3), photographs(2)], "cpu", SIDE)
    torch.manual_seed(0)
    pictures = pool.sample(30)
    assert pictures.sizes.unique(dim=0).tolist() == [[64, 32]]
    numbers = pictures.images[:, 20, 16, 0].unique().tolist()
    assert numbers == [100, 101, 102]
    assert (pictures.part_maps[:, 20, 16] == 1).all()
    assert (pictures.part_maps[:, 60, 16] == UNKNOWN).all()
    assert (pictures.part_maps[:, :, 32:] == 0).all()
    assert pictures.owners[0].tolist() == list(range(256))


@pytest.fixture
def scenes() -> Iterator[ScenePool]:
    pool = ScenePool(capacity=6, processes=1, seed=(3,), device="cpu", side=SIDE)
    yield pool
    pool.close()


@pytest.mark.slow
def test_scenes_come_and_are_renewed(scenes: ScenePool) -> None:
    scenes.fill(6)
    torch.manual_seed(0)
    before = scenes.sample(50)
    assert len(before.images.flatten(1).unique(dim=0)) == 6
    assert (before.part_maps.flatten(1).max(1).values > 0).all()
    numbers = before.owners.long().gather(1, before.part_maps.long().flatten(1))
    assert (numbers.max(1).values > 0).all()
    scenes.fill(40)
    scenes.renew(1)  # waits for none
    after = scenes.sample(50).images.flatten(1).unique(dim=0)
    kept = (after[:, None] == before.images.flatten(1)[None]).all(-1).any(1)
    assert not kept.any()


def striped() -> Pictures:
    """The left half is a red object, the right half grey ground; 64 x 48 pixels of 64 x 64."""
    pictures = Pictures.empty(200, SIDE, "cpu")
    pictures.images[:] = GREY.to(torch.uint8)
    pictures.images[:, :, :24] = RED.to(torch.uint8)
    pictures.part_maps[:, :, :24] = 1
    pictures.owners[:] = torch.arange(256, dtype=torch.uint8)
    pictures.sizes[:] = torch.tensor([64.0, 48.0])
    return pictures


@pytest.mark.parametrize("vary", [scene_frames, photograph_frames])
@pytest.mark.parametrize("size", [32, 64, 96])
def test_image_and_parts_stay_together(vary, size: int) -> None:
    torch.manual_seed(0)
    frames: Frames = vary(striped(), size)
    assert frames.images.shape == (200, 3, size, size)
    mean = torch.tensor(PIXEL_MEAN).round()[:, None, None]
    is_beside = (frames.images == mean).all(1)
    assert 0.05 < is_beside.float().mean() < 0.6
    assert (frames.part_maps[is_beside] == 0).all()
    # The darkest and the brightest channel differ on the red part and not on the grey one.
    spread = frames.images.amax(1) - frames.images.amin(1)
    red = (spread > 50) & ~is_beside
    agreeing = (red == (frames.part_maps > 0))[~is_beside].float().mean()
    assert agreeing > 0.85  # some pictures are grey altogether, edges are soft


def test_crops_flips_and_turns_differ() -> None:
    torch.manual_seed(0)
    frames = scene_frames(striped(), 64)
    covered = (frames.part_maps > 0).float()
    share = covered.mean((1, 2))
    assert share.min() < 0.2 < 0.6 < share.max()
    left, right = covered[:, :, :8].mean((1, 2)), covered[:, :, 28:36].mean((1, 2))
    top, bottom = covered[:, :8].mean((1, 2)), covered[:, 28:36].mean((1, 2))
    assert (left > right + 0.3).sum() > 20 and (right > left + 0.3).sum() > 20
    assert ((top - bottom).abs() > 0.3).sum() > 4


def test_an_object_is_pasted_into_some_photographs() -> None:
    torch.manual_seed(0)
    frames = photograph_frames(striped(), 64)
    pasted = (frames.part_maps == UNKNOWN - 1).flatten(1).any(1).float().mean()
    assert 0.02 < pasted < 0.2
