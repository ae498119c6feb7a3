"""What the evaluation opens: synthetic scenes, the photographs, folders and files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.evaluation_datasets import open_dataset, synthetic_scenes
from training.labelled_images import LabelledDataset, LabelledImage, label_map, sample
from training.photographs import coins, photographs


def test_synthetic_scenes_are_always_the_same() -> None:
    first, again = synthetic_scenes(2), synthetic_scenes(5)
    assert len(first) == 2
    for one, other in zip(first, again, strict=False):
        assert (one.image == other.image).all()
        assert list(one.masks) == list(other.masks)
        assert 1 <= len(one.masks) <= 4
        assert all(mask.any() for mask in one.masks.values())


def test_every_photograph_has_its_masks() -> None:
    by_name = {labelled.name: labelled for labelled in photographs()}
    assert len(by_name) == 9
    objects = [mask for labelled in by_name.values() for mask in labelled.masks.values()]
    assert len(objects) == 19
    for labelled in by_name.values():
        for mask in labelled.masks.values():
            assert mask.shape == labelled.image.shape[:2]
            assert mask.sum() >= 400
    cat = by_name["chelsea"].masks
    assert not (cat["left eye"] & ~cat["cat"]).any()


def test_there_are_24_coins() -> None:
    (labelled,) = coins()
    assert len(labelled.masks) == 24
    assert all(1000 < mask.sum() < 3200 for mask in labelled.masks.values())
    # A coin is brighter than the cloth it lies on.
    ground = ~np.any(list(labelled.masks.values()), axis=0)
    for mask in labelled.masks.values():
        assert labelled.image[mask].mean() > labelled.image[ground].mean() + 30


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param("hello", "neither a folder nor a JSON file", id="text"),
        pytest.param('{"tasks": []}', "neither a COCO file .* nor Label Studio", id="other"),
        pytest.param("[1, 2]", "is not an export of Label Studio", id="list"),
        pytest.param('{"annotations": 3}', "is not a COCO file", id="numbers"),
    ],
)
def test_a_file_of_another_kind_says_so(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        open_dataset(path)


def test_pictures_lie_beside_the_file_or_where_the_flag_says(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (8, 8)).save(elsewhere / "a.png")
    path = tmp_path / "instances.json"
    square = [0, 0, 6, 0, 6, 6, 0, 6]
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png"}],
                "annotations": [{"image_id": 1, "segmentation": [square]}],
            }
        )
    )
    with pytest.raises(ValueError, match="names a.png, which is not in .*: say with --images"):
        open_dataset(path)
    assert len(open_dataset(path, elsewhere)) == 1


class TestSample:
    def dataset(self) -> LabelledDataset:
        image = np.zeros((4, 4, 3), np.uint8)
        masks = {f"object {number}": np.ones((4, 4), bool) for number in range(6)}
        return LabelledDataset("numbers", 20, lambda index: LabelledImage(str(index), image, masks))

    def test_it_takes_the_same_pictures_and_objects_each_time(self) -> None:
        first, again = sample(self.dataset(), 5, 2), sample(self.dataset(), 5, 2)
        assert [one.name for one in first] == [one.name for one in again]
        assert [list(one.masks) for one in first] == [list(one.masks) for one in again]
        assert len({one.name for one in first}) == 5
        assert all(len(one.masks) == 2 for one in first)

    def test_it_takes_all_where_there_are_fewer(self) -> None:
        assert [one.name for one in sample(self.dataset(), 50, None)] == [str(n) for n in range(20)]


def test_a_label_map_has_small_objects_on_top_and_unknown_pixels() -> None:
    masks = {name: np.zeros((8, 8), bool) for name in ("small", "large", "tiny")}
    masks["small"][2:5, 2:5] = True
    masks["large"][:7] = True
    masks["tiny"][0, 0] = True
    unknown = np.zeros((8, 8), bool)
    unknown[7] = True
    labelled = LabelledImage("one", np.zeros((8, 8, 3), np.uint8), masks, unknown=unknown)
    labels = label_map(labelled, most=2, unknown=255)
    assert np.unique(labels).tolist() == [1, 2, 255]  # the smallest is left out
    assert (labels[2:5, 2:5] == 2).all()
    assert (labels[7] == 255).all()
