"""Pictures with known objects that wait on the training's device to be drawn by lot.

The pool of scenes is filled by processes that make new scenes all the time. The pool of photographs
is filled once. A batch is then made on the device, see ``augmentation.py`` and ``prompts.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from typing import Any

import cv2
import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor
from tqdm import tqdm

from training.labelled_images import LabelledDataset, LabelledImage, label_map
from training.scenes import generate

SIDE = 512  # pixels of a stored picture
UNKNOWN = 255  # in part maps: pixels that belong to no object for sure
_NUMBERS = 256  # of parts and objects
_RING = 64  # scenes that may wait for their way to the device


@dataclass(frozen=True)
class Pictures:
    """Pictures of different sizes in arrays of one size.

    Attributes:
        images: N x P x P x 3 uint8 RGB; each picture is in the upper left corner.
        part_maps: N x P x P uint8, the number of the part at each pixel: 0 is background,
            ``UNKNOWN`` belongs to no object for sure.
        owners: N x 256 uint8, the number of the object that each part belongs to.
        sizes: N x 2 float (H, W), pixels.
    """

    images: Tensor
    part_maps: Tensor
    owners: Tensor
    sizes: Tensor

    @classmethod
    def empty(cls, count: int, side: int, device: str) -> Pictures:
        """Black pictures without objects."""
        return cls(
            torch.zeros(count, side, side, 3, dtype=torch.uint8, device=device),
            torch.zeros(count, side, side, dtype=torch.uint8, device=device),
            torch.zeros(count, _NUMBERS, dtype=torch.uint8, device=device),
            torch.full((count, 2), float(side), device=device),
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All arrays, in their order."""
        return self.images, self.part_maps, self.owners, self.sizes

    def select(self, indices: Tensor) -> Pictures:
        """The pictures with the given indices."""
        return Pictures(*(tensor[indices] for tensor in self.tensors))

    def put(self, index: int, other: Pictures, other_index: int) -> None:
        """Overwrite one picture with a picture of another store."""
        for tensor, source in zip(self.tensors, other.tensors, strict=True):
            tensor[index].copy_(source[other_index])


class ScenePool:
    """Synthetic scenes, renewed by processes of their own.

    Args:
        capacity: the number of scenes in the pool.
        processes: that make scenes.
        seed: the scenes follow from it, their order does not.
        side: of a scene, pixels.
        device: where the pool is.

    Attributes:
        made: the number of scenes that ever came into the pool.
    """

    def __init__(
        self, capacity: int, processes: int, seed: Sequence[int], device: str, side: int = SIDE
    ) -> None:
        self._pictures = Pictures.empty(capacity, side, device)
        self.made = 0
        context = multiprocessing.get_context("spawn")
        self._ring = Pictures.empty(_RING, side, "cpu")
        for tensor in self._ring.tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        self._free: Any = context.Queue()
        self._ready: Any = context.Queue()
        for slot in range(_RING):
            self._free.put(slot)
        self._processes = [
            context.Process(
                target=_make_scenes,
                args=((*seed, rank), self._ring, self._free, self._ready),
                daemon=True,
            )
            for rank in range(processes)
        ]
        for process in self._processes:
            process.start()

    def fill(self, count: int) -> None:
        """Wait until ``count`` scenes came into the pool."""
        while self.made < count:
            self._take(self._ready.get(timeout=600))

    def renew(self, at_most: int) -> None:
        """Take in the scenes that are ready; waits for none."""
        for _ in range(at_most):
            try:
                self._take(self._ready.get_nowait())
            except Empty:
                return

    def sample(self, count: int) -> Pictures:
        """Scenes by lot."""
        device = self._pictures.images.device
        held = min(self.made, len(self._pictures))
        return self._pictures.select(torch.randint(held, (count,), device=device))

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()

    def _take(self, slot: int) -> None:
        capacity = len(self._pictures)
        place = self.made if self.made < capacity else int(torch.randint(capacity, ()))
        self._pictures.put(place, self._ring, slot)
        self.made += 1
        self._free.put(slot)


def _make_scenes(seed: Sequence[int], ring: Pictures, free: Any, ready: Any) -> None:
    """What each process of a scene pool does until it is ended."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    while True:
        slot = free.get()
        scene = generate(rng, ring.images.shape[1])
        ring.images[slot] = torch.from_numpy(scene.image)
        ring.part_maps[slot] = torch.from_numpy(scene.part_map)
        ring.owners[slot] = torch.from_numpy(scene.owners[:_NUMBERS])
        ready.put(slot)


class PhotographPool:
    """All photographs of some datasets.

    Args:
        datasets: what to learn from.
        device: where the pool is.
        side: the longer side of each photograph is made so long, pixels.
    """

    def __init__(self, datasets: Sequence[LabelledDataset], device: str, side: int = SIDE) -> None:
        self._pictures = Pictures.empty(sum(map(len, datasets)), side, device)
        labelled = (one for dataset in datasets for one in dataset)
        for index, one in enumerate(tqdm(labelled, "photographs", total=len(self._pictures))):
            self._pictures.put(index, _stored(one, side), 0)

    def sample(self, count: int) -> Pictures:
        """Photographs by lot, each as likely as any other."""
        device = self._pictures.images.device
        chosen = torch.randint(len(self._pictures), (count,), device=device)
        return self._pictures.select(chosen)


def _stored(labelled: LabelledImage, side: int) -> Pictures:
    """One photograph. Each of its objects is one part, since no parts are known."""
    height, width = labelled.image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))  # OpenCV's order
    shrinks = scale < 1
    image = cv2.resize(
        labelled.image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    labels = label_map(labelled, most=UNKNOWN - 1, unknown=UNKNOWN)
    part_map = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    stored = Pictures.empty(1, side, "cpu")
    stored.images[0, : size[1], : size[0]] = torch.from_numpy(image)
    stored.part_maps[0, : size[1], : size[0]] = torch.from_numpy(part_map)
    stored.owners[0] = torch.arange(_NUMBERS, dtype=torch.uint8)
    stored.sizes[0] = torch.tensor([size[1], size[0]])
    return stored
