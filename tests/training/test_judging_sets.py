"""Folders of pictures and masks, drawn scenes, and the photographs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.judging_sets import drawn_scenes, folder
from training.photographs import coins, photographs


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
    cat, dogs = folder(good)
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
    cat, dogs = folder(good)
    assert list(cat.masks) == ["object 300"]
    assert list(dogs.masks) == ["object 1"]


def test_a_turned_photograph_is_judged_as_it_is_seen(good: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 30)).save(good / "images" / "cat.jpg", exif=exif)
    cat, _ = folder(good)
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
            "cat.png is all 0",
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
        list(folder(good))


def test_a_smoothed_edge_is_no_object(good: Path) -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:15] = 255
    labels[5, 5:15] = 128
    save(good / "masks" / "cat.png", labels)
    with pytest.raises(ValueError, match="object 128 of .*cat.png has 10 pixels.*antialiasing"):
        list(folder(good))


def test_a_file_cut_off_says_so(good: Path) -> None:
    path = good / "images" / "dogs.PNG"
    save(path, np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="dogs.PNG cannot be read as a picture"):
        list(folder(good))


def test_drawn_scenes_are_always_the_same() -> None:
    first, again = drawn_scenes(2), drawn_scenes(5)
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
