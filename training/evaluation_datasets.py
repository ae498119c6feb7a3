"""What a checkpoint is judged by: synthetic scenes, or any labelled pictures of your own.

Scenes come from seeds that no training uses. The photographs are in ``training/photographs.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from training.coco import coco
from training.label_studio_export import label_studio_export
from training.labelled_images import LabelledDataset, LabelledImage
from training.mask_folder import mask_folder
from training.scenes import generate

_SEED = 20_000_003  # far from any seed of the training
_SCENE_SIZE = 512  # pixels
_OBJECTS = 4  # of each scene, at most


def synthetic_scenes(count: int) -> LabelledDataset:
    """The first ``count`` of an endless series of scenes, the same ones each time."""
    return LabelledDataset("scenes", count, _generate)


def open_dataset(
    path: Path, images: Path | None = None, unknown: int | None = None
) -> LabelledDataset:
    """Labelled pictures of your own.

    Args:
        path: a folder as ``mask_folder.py`` describes it, a COCO file of object instances, or
            Label Studio's export in the JSON format.
        images: the folder with the pictures that a JSON file names. Without it they are looked
            for beside the file and in the folder ``images`` there.
        unknown: the value of unknown pixels in the masks of a folder; None if there is none.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: its format is none of the three, or it has a mistake.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no folder and no file {path}")
    if path.is_dir():
        return mask_folder(path, unknown)
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is neither a folder nor a JSON file ({error})") from error
    folders = [path.parent, path.parent / "images"] if images is None else [images]
    if isinstance(content, list):
        return label_studio_export(path, content, folders)
    if isinstance(content, dict) and "annotations" in content:
        return coco(path, content, folders)
    raise ValueError(
        f"{path} is neither a COCO file of object instances nor Label Studio's export in JSON"
    )


def _generate(index: int) -> LabelledImage:
    rng = np.random.default_rng((_SEED, index))
    scene = generate(rng, _SCENE_SIZE)
    masks = scene.object_masks
    chosen = rng.permutation(len(masks))[:_OBJECTS]
    named = {f"object {number}": masks[number] for number in chosen}
    return LabelledImage(f"scene {index}", scene.image, named)
