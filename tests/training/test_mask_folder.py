"""Folders of pictures and masks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.mask_folder import mask_folder


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Two pictures, 30 x 20 pixels, the second with two objects."""
    picture = np.zeros((20, 30, 3), np.uint8)
    save(tmp_path / "images" / "cat.jpg", picture)
    save(tmp_path / "images" / "dogs.PNG", picture)
    labels = np.zeros((20, 30), np.uint8)
    labels[2:9, 2:9] = 255
    save(tmp_path / "masks" / "cat.png", labels)
    labels[2:9, 2:9] = 1
    labels[12:18, 10:28] = 7
    save(tmp_path / "masks" / "dogs.png", labels)
    return tmp_path


def test_a_folder(good: Path) -> None:
    cat, dogs = mask_folder(good)
    assert (cat.name, list(cat.masks)) == ("cat", ["object 255"])
    assert (dogs.name, list(dogs.masks)) == ("dogs", ["object 1", "object 7"])
    assert dogs.image.shape == (20, 30, 3)
    assert dogs.masks["object 7"].sum() == 6 * 18


def test_masks_of_many_objects_and_indexed_ones(good: Path) -> None:
    labels = np.zeros((20, 30), np.uint16)
    labels[5:15, 5:15] = 300
    save(good / "masks" / "cat.png", labels)
    indexed = Image.fromarray((labels > 0).astype(np.uint8), "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0])
    indexed.save(good / "masks" / "dogs.png")
    cat, dogs = mask_folder(good)
    assert list(cat.masks) == ["object 300"]
    assert list(dogs.masks) == ["object 1"]


def test_a_turned_photograph_is_judged_as_it_is_seen(good: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 30)).save(good / "images" / "cat.jpg", exif=exif)
    cat, _ = mask_folder(good)
    assert cat.image.shape == (20, 30, 3)


def no_masks(path: Path) -> None:
    for mask in (path / "masks").iterdir():
        mask.unlink()
    (path / "masks").rmdir()


def no_pictures(path: Path) -> None:
    for file in [*(path / "masks").iterdir(), *(path / "images").iterdir()]:
        file.unlink()


def stray_file(path: Path) -> None:
    (path / "images" / "notes.txt").write_text("hello")


def one_name_twice(path: Path) -> None:
    save(path / "images" / "cat.png", np.zeros((20, 30, 3), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        pytest.param(no_masks, "no folder .*masks: .* same names", id="no-folder"),
        pytest.param(no_pictures, "images holds no pictures", id="empty"),
        pytest.param(
            lambda path: (path / "masks" / "cat.png").unlink(), "has 'cat' but .*masks", id="mask"
        ),
        pytest.param(
            lambda path: (path / "images" / "cat.jpg").unlink(),
            "has 'cat' but .*images",
            id="picture",
        ),
        pytest.param(stray_file, "notes.txt is none of .jpg", id="stray"),
        pytest.param(one_name_twice, "cat.jpg and .*cat.png have one name", id="twice"),
        pytest.param(
            lambda path: save(path / "masks" / "cat.png", np.ones((30, 20), np.uint8)),
            "cat.png is 20 x 30 pixels but cat.jpg is 30 x 20",
            id="size",
        ),
        pytest.param(
            lambda path: save(path / "masks" / "cat.png", np.ones((20, 30, 3), np.uint8)),
            "mode RGB: .*greyscale or indexed",
            id="colour",
        ),
        pytest.param(
            lambda path: save(path / "masks" / "cat.png", np.zeros((20, 30), np.uint8)),
            "cat.png has no object",
            id="no-object",
        ),
        pytest.param(
            lambda path: (path / "images" / "cat.jpg").write_bytes(b"<html>"),
            "cat.jpg cannot be read as a picture",
            id="broken",
        ),
    ],
)
def test_a_bad_folder_says_what_is_wrong(
    good: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(good)
    with pytest.raises(ValueError, match=sentence):
        list(mask_folder(good))


def test_a_smoothed_edge_is_no_object(good: Path) -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:15] = 255
    labels[5, 5:15] = 128
    save(good / "masks" / "cat.png", labels)
    with pytest.raises(ValueError, match="object 128 of .*cat.png has 10 pixels.*antialiasing"):
        list(mask_folder(good))


def test_a_file_cut_off_says_so(good: Path) -> None:
    path = good / "images" / "dogs.PNG"
    save(path, np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="dogs.PNG cannot be read as a picture"):
        list(mask_folder(good))


def test_unknown_pixels_are_no_object(good: Path) -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[2:9, 2:9] = 1
    labels[12:18, 10:28] = 255
    save(good / "masks" / "dogs.png", labels)
    save(good / "masks" / "cat.png", np.where(labels == 255, 0, labels))
    cat, dogs = mask_folder(good, unknown=255)
    assert list(dogs.masks) == ["object 1"]
    np.testing.assert_array_equal(dogs.unknown, labels == 255)
    assert cat.unknown is None
