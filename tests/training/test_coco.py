"""COCO files: polygons, both forms of run lengths, crowds, and what may be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.evaluation_datasets import open_dataset

# pycocotools' string for DENTED.
STRING = "c26>000000LC1=OC1=OC1232LL12320N020N020N020N020N020N020N020N0;000000000000000l0"
DENTED = np.zeros((20, 30), bool)
DENTED[3:9, 4:20] = True
DENTED[12:18, 10:28] = True
DENTED[5, 8:12] = False


def lengths(mask: np.ndarray) -> list[int]:
    flat = mask.T.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.diff([0, *ends, flat.size]).tolist()


def write(folder: Path, *annotations: dict[str, Any]) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (30, 20)).save(folder / "images" / "a.png")
    path = folder / "instances.json"
    content = {
        "images": [
            {"id": 7, "file_name": "deep/a.png"},
            {"id": 8, "file_name": "without_objects.png"},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": number, "image_id": 7, "category_id": 1 + number % 2, **annotation}
            for number, annotation in enumerate(annotations)
        ],
    }
    path.write_text(json.dumps(content))
    return path


def only(path: Path) -> Any:
    (labelled,) = open_dataset(path)
    return labelled


@pytest.mark.parametrize("counts", [STRING, lengths(DENTED)], ids=["string", "numbers"])
def test_run_lengths_go_down_the_columns(tmp_path: Path, counts: str | list[int]) -> None:
    path = write(tmp_path, {"segmentation": {"size": [20, 30], "counts": counts}})
    np.testing.assert_array_equal(only(path).masks["object 0"], DENTED)


def test_polygons_of_one_object_are_one_mask(tmp_path: Path) -> None:
    first, second = [2, 3, 20, 3, 20, 9, 2, 9], [22, 12, 28, 12, 28, 18, 22, 18]
    expected = np.zeros((20, 30), bool)
    expected[3:9, 2:20] = True
    expected[12:18, 22:28] = True
    labelled = only(write(tmp_path, {"segmentation": [first, second]}))
    np.testing.assert_array_equal(labelled.masks["object 0"], expected)


def test_objects_have_the_name_of_their_category(tmp_path: Path) -> None:
    square = {"segmentation": [[2, 3, 20, 3, 20, 9, 2, 9]]}
    assert only(write(tmp_path, square, square)).kinds == {"object 0": "cat", "object 1": "dog"}


def test_a_crowd_is_unknown_and_takes_its_pixels(tmp_path: Path) -> None:
    crowd = {"segmentation": {"size": [20, 30], "counts": lengths(DENTED)}, "iscrowd": 1}
    square = {"segmentation": [[2, 0, 20, 0, 20, 9, 2, 9]]}
    labelled = only(write(tmp_path, crowd, square))
    np.testing.assert_array_equal(labelled.unknown, DENTED)
    assert list(labelled.masks) == ["object 1"]
    assert not (labelled.masks["object 1"] & DENTED).any()


@pytest.mark.parametrize(
    ("segmentation", "sentence"),
    [
        pytest.param({"size": [9, 9], "counts": [81]}, r"its size is \[9, 9\]", id="size"),
        pytest.param({"size": [20, 30], "counts": [5, 5]}, "give 10 pixels, not 600", id="short"),
        pytest.param({"size": [20, 30]}, "counts", id="no-counts"),
        pytest.param([[1, 2, 3]], "segmentation of object 0", id="odd"),
    ],
)
def test_a_wrong_segmentation_says_so(tmp_path: Path, segmentation: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        only(write(tmp_path, {"segmentation": segmentation}))


def test_a_file_without_objects_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no picture with a segmented object"):
        open_dataset(write(tmp_path))


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path, {"segmentation": [[2, 3, 20, 3, 20, 9, 2, 9]]})
    Image.new("RGB", (30, 20)).save(tmp_path.parent / "secret.png")
    path.write_text(path.read_text().replace("deep/a.png", "../secret.png"))
    with pytest.raises(ValueError, match="names ../secret.png, which is not in"):
        open_dataset(path)
