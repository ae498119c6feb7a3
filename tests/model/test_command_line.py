"""`python -m model`, as a user types it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from model.__main__ import main
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RED, BLUE = (slice(60, 180), slice(40, 140)), (slice(60, 180), slice(190, 290))
RED_BOX, BLUE_BOX = "38,58,142,182", "188,58,292,182"


def write_photo(path: Path) -> Path:
    """A red and a blue square on grey, 320 x 240."""
    image = np.full((240, 320, 3), 170, dtype=np.uint8)
    image[RED] = (210, 40, 30)
    image[BLUE] = (30, 60, 200)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photo(tmp_path / "photo.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, one of them in a folder of the folder."""
    write_photo(tmp_path / "photos" / "a.png")
    write_photo(tmp_path / "photos" / "in ner" / "b.png")
    return tmp_path / "photos"


class Run:
    """What a command answered."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run_command(*arguments: object) -> Run:
        words = [*map(str, arguments), "--checkpoint", str(BUILTIN_PATH)]
        try:
            status = main(words)
        except SystemExit as error:  # argparse
            status = int(str(error.code))
        out, err = capsys.readouterr()
        return Run(status, out, err)

    return run_command


def test_one_json_line_and_a_picture(photo: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.png"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "model", photo, "--point", "90,120", "20,20,0"),
            *("--box", RED_BOX, "--output", overlay, "--checkpoint", BUILTIN_PATH),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    report = json.loads(done.stdout)
    assert report["image"] == str(photo)
    assert report["weights"] == "mobile-sam-builtin"
    assert report.keys() >= {"embed_ms", "predict_ms", "engine"}
    (found,) = report["objects"]
    assert 0 < found["area"] <= 240 * 320
    assert 0 < found["iou_prediction"] <= 1.1
    assert np.abs(np.subtract(found["box"], [40, 60, 140, 180])).max() < 8
    with Image.open(overlay) as picture, Image.open(photo) as original:
        assert picture.size == (320, 240)
        assert np.asarray(picture).tolist() != np.asarray(original).tolist()


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(["--point", "240,120", "--point", "90,120"], id="points"),
        pytest.param(["--box", BLUE_BOX, "--box", RED_BOX], id="boxes"),
        pytest.param(
            [*("--box", BLUE_BOX, "--box", RED_BOX), *("--point", "240,120", "100,9,0")]
            + ["--point", "90,120"],
            id="both",
        ),
    ],
)
def test_each_point_and_each_box_is_an_object(run: Any, photo: Path, prompts: list[str]) -> None:
    done = run(photo, *prompts)
    assert done.status == 0, done.err
    blue, red = done.lines[0]["objects"]
    assert np.abs(np.subtract(blue["box"], [190, 60, 290, 180])).max() < 8
    assert np.abs(np.subtract(red["box"], [40, 60, 140, 180])).max() < 8


def test_everything_with_settings(run: Any, photo: Path) -> None:
    done = run(photo, "--everything", "--points-per-side", 8)
    assert done.status == 0, done.err
    found = done.lines[0]["objects"]
    assert len(found) >= 2
    fewer = run(photo, "--everything", "--points-per-side", 8, "--max-masks", 1)
    assert len(fewer.lines[0]["objects"]) == 1


def test_many_images_give_a_line_and_a_picture_each(run: Any, folder: Path) -> None:
    target = folder.parent / "out"
    done = run(folder, "--box", RED_BOX, "-o", target)
    assert done.status == 0, done.err
    assert [line["image"] for line in done.lines] == [
        str(folder / "a.png"),
        str(folder / "in ner" / "b.png"),
    ]
    assert sorted(target.rglob("*.png")) == [target / "a.png", target / "in ner" / "b.png"]
    assert "2/2" in done.err  # the progress bar


def test_an_image_that_fails_leaves_the_others(run: Any, folder: Path) -> None:
    (folder / "a.png").write_text("no image")
    Image.new("RGB", (50, 50)).save(folder / "small.png")
    done = run(folder, "--box", BLUE_BOX, "-o", folder.parent / "out")
    assert done.status == 1
    assert len(done.lines) == 1
    assert "a.png is no image that Pillow can read" in done.err
    assert "small.png: the box of object 1 is outside the image" in done.err
    assert "2 of 3 images failed" in done.err
    assert [path.name for path in (folder.parent / "out").rglob("*.png")] == ["b.png"]


def test_tasks_of_label_studio(run: Any, folder: Path) -> None:
    path = folder.parent / "tasks.json"
    done = run(
        *(folder, "--box", RED_BOX, "--format", "label-studio", "-o", path, "--label", "Other"),
        *("--url-prefix", "/data/local-files/?d=photos/"),
    )
    assert done.status == 0, done.err
    first, second = json.loads(path.read_text())
    assert first["data"] == {"image": "/data/local-files/?d=photos/a.png"}
    assert second["data"] == {"image": "/data/local-files/?d=photos/in%20ner/b.png"}
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "mobile-sam-builtin"
    (region,) = prediction["result"]
    assert region["value"]["brushlabels"] == ["Other"]


def two_objects(run: Any, folder: Path, name: str, target: Path) -> None:
    done = run(folder, "--box", RED_BOX, "--box", BLUE_BOX, "--format", name, "-o", target)
    assert done.status == 0, done.err


def test_json(run: Any, folder: Path) -> None:
    path = folder.parent / "found.json"
    two_objects(run, folder, "json", path)
    first, second = json.loads(path.read_text())
    assert first["image"] == str(folder / "a.png")
    assert (first["width"], first["height"]) == (320, 240)
    red, blue = second["objects"]
    (part,) = blue["polygons"]
    assert np.abs(np.min(part["exterior"], axis=0) - (190, 60)).max() < 8
    assert red["area"] > 10_000


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools
def test_coco_as_pycocotools_reads_it(
    run: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder.parent / "coco.json"
    two_objects(run, folder, "coco", path)
    coco = COCO(str(path))
    capsys.readouterr()
    assert [one["file_name"] for one in coco.loadImgs([1, 2])] == ["a.png", "in ner/b.png"]
    assert [one["name"] for one in coco.loadCats([1])] == ["Object"]
    red, blue = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert coco.annToMask(red)[RED].mean() > 0.9
    assert coco.annToMask(blue)[BLUE].mean() > 0.9
    assert 0 < red["score"] <= 1.1


def test_yolo(run: Any, folder: Path) -> None:
    target = folder.parent / "labels"
    two_objects(run, folder, "yolo", target)
    rows = (target / "in ner" / "b.txt").read_text().splitlines()
    red, blue = (np.array(row.split(), float) for row in rows)
    assert red[0] == blue[0] == 0
    assert np.abs(red[1:].reshape(-1, 2).max(axis=0) * (320, 240) - (140, 180)).max() < 8


def test_png(run: Any, folder: Path) -> None:
    target = folder.parent / "pngs"
    two_objects(run, folder, "png", target)
    with Image.open(target / "a.png") as picture:
        numbers = np.asarray(picture)
    assert (numbers[RED] == 1).mean() > 0.9
    assert (numbers[BLUE] == 2).mean() > 0.9
    assert numbers[5, 5] == 0


def test_after_an_interruption_the_file_has_what_was_done(folder: Path) -> None:
    for number in range(200):
        write_photo(folder / f"{number}.png")
    path = folder.parent / "found.json"
    words = [folder, "--box", RED_BOX, "--format", "json", "-o", path]
    # A shell's background jobs, and all that they start, ignore Ctrl-C unless they ask for it.
    program = (
        "import signal, sys; from model.__main__ import main;"
        " signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words, "--checkpoint", BUILTIN_PATH],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()  # of the first image
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert 1 <= len(json.loads(path.read_text())) < 202


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        pytest.param([], 2, "at least one --point", id="no-prompt"),
        pytest.param(["--point", "a,b"], 2, "'a,b' must be 2 or 3 numbers", id="no-numbers"),
        pytest.param(["--point", "1,2,5"], 2, "must be 1 or 0", id="label"),
        pytest.param(["--point", "1,2,0.5"], 2, "must be 1 or 0", id="half-label"),
        pytest.param(["--box", "1,2,3"], 2, "'1,2,3' must be 4 numbers", id="box"),
        pytest.param(["--point", "1,nan"], 1, "finite", id="nan"),
        pytest.param(["--point", "1,2,0"], 1, "needs a point with label 1", id="negative-alone"),
        pytest.param(["--point", "999,2"], 1, "outside the image", id="outside"),
        pytest.param(
            ["--box", "1,2,30,40", "--point", "1,2", "--point", "3,4"],
            1,
            "2 of points, 1 of bboxes",
            id="counts",
        ),
        pytest.param(["--everything", "--point", "1,2"], 2, "without --point", id="both"),
        pytest.param(
            ["--point", "1,2", "--max-masks", "3"], 2, "--max-masks goes with", id="setting"
        ),
        pytest.param(
            ["--everything", "--box-nms-thresh", "3"], 1, "box_nms_thresh must be", id="range"
        ),
        pytest.param(["--point", "1,2", "--format", "label-studio"], 2, "needs -o", id="no-output"),
        pytest.param(["--point", "1,2", "--label", "Car"], 2, "--label goes with", id="no-label"),
        pytest.param(["--point", "1,2", "-o", "x.doc"], 1, "no suffix of an image", id="suffix"),
        pytest.param(
            ["--point", "1,2", "--format", "label-studio", "-o", "x.json"],
            1,
            "needs --url-prefix",
            id="no-prefix",
        ),
    ],
)
def test_wrong_arguments(
    run: Any,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(photo, *arguments)
    assert done.status == status
    assert sentence in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_no_image(run: Any, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    for path, sentence in [
        (text, f"error: {text} is no image that Pillow can read\n"),
        (tmp_path / "x", f"error: {tmp_path / 'x'} does not exist\n"),
        (tmp_path / "*.png", "no image matches"),
    ]:
        done = run(path, "--point", "1,1")
        assert done.status == 1
        assert sentence in done.err


@pytest.mark.parametrize("form", ["overlay", "yolo"])
def test_the_name_of_a_file_for_several_images(run: Any, folder: Path, form: str) -> None:
    target = folder.parent / "out.png"
    done = run(folder, "--box", RED_BOX, "--format", form, "-o", target)
    assert done.status == 1
    assert f"-o must be a folder for 2 images, and {target} is a file's name" in done.err
    assert not target.exists()


def test_no_image_is_overwritten(run: Any, folder: Path) -> None:
    before = (folder / "a.png").read_bytes()
    done = run(folder, "--box", RED_BOX, "-o", folder)
    assert done.status == 1
    assert "a.png would be overwritten" in done.err
    assert (folder / "a.png").read_bytes() == before


def test_two_images_never_share_a_file(run: Any, folder: Path) -> None:
    write_photo(folder / "a.bmp")
    done = run(folder, "--box", RED_BOX, "-o", folder.parent / "out")
    assert done.status == 1
    assert "a.bmp and" in done.err
    assert "would both be" in done.err
