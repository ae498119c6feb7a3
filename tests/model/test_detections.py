"""Files with the boxes of a detector. test_auto_annotation.py has their masks."""

import json
from pathlib import Path
from typing import Any

import pytest

from model import detections

IMAGE = {"id": 5, "file_name": "a.png"}
CATEGORY = {"id": 3, "name": "red"}
BOX = {"image_id": 5, "category_id": 3, "bbox": [38, 58, 104, 124]}


def write_coco(path: Path, **parts: list[dict[str, Any]]) -> Path:
    content = {"images": [IMAGE], "categories": [CATEGORY], "annotations": [BOX], **parts}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"images": [{"file_name": "a.png"}]}, id="image-without-id"),
        pytest.param({"images": [IMAGE | {"id": [5]}]}, id="image-with-a-list-as-id"),
        pytest.param({"images": [IMAGE | {"file_name": None}]}, id="image-without-name"),
        pytest.param({"categories": [CATEGORY | {"id": float("inf")}]}, id="infinite-category"),
        pytest.param({"annotations": [BOX | {"bbox": [10**400, 1, 2, 3]}]}, id="400-digits"),
        pytest.param({"annotations": [BOX | {"bbox": [1, 2, 3]}]}, id="three-numbers"),
        pytest.param({"annotations": [BOX | {"category_id": 4}]}, id="unknown-category"),
    ],
)
def test_a_broken_coco_file_gets_a_sentence(
    tmp_path: Path, parts: dict[str, list[dict[str, Any]]]
) -> None:
    path = write_coco(tmp_path / "boxes.json")
    assert detections.read(path).class_names == ["red"]
    write_coco(path, **parts)
    with pytest.raises(ValueError, match=r"boxes\.json is no COCO file with images"):
        detections.read(path)


def test_json_that_is_nested_too_deeply_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text("[" * 100_000)
    with pytest.raises(
        ValueError, match=r"boxes\.json is neither a folder of YOLO labels nor JSON"
    ):
        detections.read(path)
