"""The Python API: what a user gets for an image and prompts."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import EverythingSettings, MobileSAM, OpenedImage, Results, overlay
from model.weights import BUILTIN_PATH

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH = 240, 320
# (x, y, radius) of a red and of a blue disc; the red disc has a hole.
RED, BLUE = (90, 120, 60), (240, 120, 50)
HOLE = (90, 120, 20)
RED_BOX, BLUE_BOX = (28, 58, 152, 182), (188, 68, 292, 172)


def disc(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    pixels = np.full((HEIGHT, WIDTH, 3), 170, np.uint8)
    pixels[disc(*RED)] = (210, 40, 30)
    pixels[disc(*HOLE)] = 170
    pixels[disc(*BLUE)] = (30, 60, 200)
    return pixels


@pytest.fixture(scope="module")
def sam() -> MobileSAM:
    return MobileSAM(BUILTIN_PATH, precision="fp32")


@pytest.fixture(scope="module")
def opened(sam: MobileSAM, image: np.ndarray) -> OpenedImage:
    return sam.open(image)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param({"points": [[240, 120], [90, 70]]}, id="points"),
        pytest.param({"points": [[[240, 120]], [[90, 70], [90, 170]]]}, id="nested-points"),
        pytest.param({"bboxes": [BLUE_BOX, RED_BOX]}, id="boxes"),
        pytest.param({"bboxes": [BLUE_BOX, RED_BOX], "points": [[240, 120], [90, 70]]}, id="both"),
    ],
)
def test_masks_are_in_the_order_of_the_prompts(opened: OpenedImage, prompts: Any) -> None:
    result = opened.segment(**prompts)
    assert result.masks.shape == (2, HEIGHT, WIDTH)
    assert result.masks.dtype == bool
    assert iou(result.masks[0], disc(*BLUE)) > 0.9
    assert iou(result.masks[1], disc(*RED)) > 0.8
    assert result.scores.shape == (2,)
    assert len(result) == len(result.polygons) == 2
    assert result.areas.tolist() == [mask.sum() for mask in result.masks]


def test_a_background_point_takes_its_part_away(opened: OpenedImage) -> None:
    both = opened.segment(points=[[[90, 70], [240, 120]]])
    red = opened.segment(points=[[[90, 70], [240, 120]]], labels=[[1, 0]])
    assert both.masks[0, 120, 240]
    assert not red.masks[0, 120, 240]
    assert red.masks[0, 70, 90]


def test_boxes_are_those_around_the_masks(opened: OpenedImage) -> None:
    result = opened.segment(bboxes=[RED_BOX, BLUE_BOX])
    for mask, (x0, y0, x1, y1) in zip(result.masks, result.boxes.astype(int), strict=True):
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        assert mask[y0].any() and mask[y1 - 1].any()
        assert mask[:, x0].any() and mask[:, x1 - 1].any()


def test_low_res_masks_are_prompts_of_the_next_call(opened: OpenedImage) -> None:
    first = opened.segment(bboxes=[BLUE_BOX])
    alone = opened.segment(masks=first.low_res_masks)
    assert iou(alone.masks[0], first.masks[0]) > 0.8
    refined = opened.segment(points=[240, 120], masks=first.low_res_masks)
    assert iou(refined.masks[0], first.masks[0]) > 0.8


def test_no_prompt_means_everything(opened: OpenedImage) -> None:
    result = opened.segment(everything=EverythingSettings(points_per_side=8))
    assert max(iou(mask, disc(*BLUE)) for mask in result.masks) > 0.85
    assert (np.diff(result.areas) <= 0).all()
    few = opened.segment(everything=EverythingSettings(points_per_side=8, max_masks=1))
    assert len(few) == 1 < len(result)


def test_no_boxes_are_no_objects(opened: OpenedImage) -> None:
    result = opened.segment(bboxes=np.empty((0, 4)))
    assert result.masks.shape == (0, HEIGHT, WIDTH)
    assert result.boxes.shape == (0, 4)
    assert result.polygons == []
    assert (result.plot() == result.image).all()


def test_a_crop_shows_a_small_object_again(sam: MobileSAM) -> None:
    small = np.full((HEIGHT * 8, WIDTH * 8, 3), 170, np.uint8)
    small[400:430, 600:630] = (200, 30, 30)
    box = [595, 395, 635, 435]
    with_crops = sam.open(small).segment(bboxes=box)
    without = MobileSAM(BUILTIN_PATH, precision="fp32", crop_refinement=False).open(small)
    truth = np.zeros(small.shape[:2], bool)
    truth[400:430, 600:630] = True
    assert iou(with_crops.masks[0], truth) > iou(without.segment(bboxes=box).masks[0], truth)


def test_results_of_many_images_come_one_at_a_time(
    sam: MobileSAM, image: np.ndarray, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(image).save(tmp_path / name)
    results = sam(tmp_path, points=[240, 120])
    first = next(results)
    assert isinstance(first, Results)
    assert first.path == str(tmp_path / "a.png")
    assert first.original_size == (HEIGHT, WIDTH)
    (tmp_path / "b.png").write_bytes(b"no image")  # it has not been read yet
    with pytest.raises(ValueError, match=r"b\.png is no image"):
        next(results)


def test_mistakes_show_before_the_first_image(sam: MobileSAM, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="labels need points"):
        sam(tmp_path / "not-there.png", labels=[1])
    with pytest.raises(ValueError, match="there is no image in the folder"):
        sam(tmp_path, points=[1, 1])
    with pytest.raises(ValueError, match="everything goes with no prompt"):
        sam(tmp_path / "x.png", points=[1, 1], everything=EverythingSettings())


def test_an_image_is_freed_as_soon_as_nobody_needs_it(sam: MobileSAM, image: np.ndarray) -> None:
    gc.disable()  # the collector of cycles comes late where objects are few and large
    try:
        opened = sam.open(image)
        opened.segment(bboxes=[RED_BOX])
        reference = weakref.ref(opened)
        del opened
        assert reference() is None
    finally:
        gc.enable()


def test_open_takes_one_image(sam: MobileSAM, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="takes one image, and the source has 2"):
        sam.open([image, image])


def test_the_overlay_is_written(opened: OpenedImage, tmp_path: Path) -> None:
    result = opened.segment(bboxes=[RED_BOX, BLUE_BOX])
    result.save(tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == result.image.shape
    assert (pixels[120, 240] != result.image[120, 240]).any()
    assert (pixels[5, 5] == result.image[5, 5]).all()
    assert (pixels[70, 90] != result.image[70, 90]).any()


def test_objects_have_unlike_colours() -> None:
    grey = np.full((10, 20, 3), 128, np.uint8)
    halves = [np.arange(20) < 10, np.arange(20) >= 10]
    masks = [np.tile(half, (10, 1)) for half in halves]
    picture = overlay.draw(grey, masks).astype(int)
    assert abs(picture[5, 3] - picture[5, 16]).sum() > 60


def test_info_says_what_is_loaded(sam: MobileSAM) -> None:
    info = sam.info()
    assert info.weights == "mobile-sam-builtin"
    assert info.checkpoint == BUILTIN_PATH
    assert info.image_size == 512
    assert 1_000_000 < info.parameters < 10_000_000
    assert info.engine == "OpenVINO on cpu, fp32"


@pytest.mark.slow
def test_torch_is_not_needed() -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['timm'] = None\n"
        "import numpy as np\n"
        "from model import MobileSAM\n"
        f"sam = MobileSAM({str(BUILTIN_PATH)!r})\n"
        "(result,) = sam(np.zeros((20, 30, 3), np.uint8), points=[5, 5])\n"
        "print(result.masks.shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "(1, 20, 30)\n", done.stderr
