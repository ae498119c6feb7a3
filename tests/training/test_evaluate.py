"""The command on a real folder with a real checkpoint, and the loop it runs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.weights import BUILTIN_PATH
from training import evaluate, gallery
from training.contact_sheet import Extremes, draw_sheet
from training.labelled_images import LabelledDataset, LabelledImage
from training.protocol import STRATEGIES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def disc(size: int, x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    mask = disc(96, 40, 50, 25)
    picture = np.where(mask[..., None], (220, 60, 30), (20, 90, 160)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "images" / "disc.png")
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / "disc.png")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, words)])
    evaluate.main()


def test_a_folder_to_tables_numbers_and_pictures(
    discs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {name: tmp_path / name for name in ("numbers.json", "sheet.png", "reliability.png")}
    run(
        monkeypatch, discs, "--checkpoint", BUILTIN_PATH, "--strategy", "served", "iou-chained",
        "--json", files["numbers.json"], "--sheet", files["sheet.png"],
        "--reliability", files["reliability.png"],
    )  # fmt: skip

    printed = capsys.readouterr().out
    details = json.loads(files["numbers.json"].read_text())
    assert [one["strategy"] for one in details] == ["served", "iou-chained"]
    for one in details:
        assert one["dataset"] == discs.name
        assert f" {one['scores']['1_click']:.3f} |" in printed
        (judged,) = one["objects"]
        assert judged["name"] == "disc, object 1"
        assert one["scores"]["box"] == pytest.approx(judged["box"], abs=1e-4)
        assert sum(one_bin["answers"] for one_bin in one["reliability"]) == 6
    for name in ("sheet.png", "reliability.png"):
        with Image.open(files[name]) as picture:
            assert min(picture.size) > 200


def test_several_datasets_have_a_row_each_and_one_for_each_kind(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    square = [20, 20, 70, 20, 70, 70, 20, 70]
    corner = [0, 0, 30, 0, 30, 30, 0, 30]
    content = {
        "images": [{"id": 1, "file_name": "disc.png"}],
        "categories": [{"id": 1, "name": "wheel"}, {"id": 2, "name": "road"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square]},
            {"id": 2, "image_id": 1, "category_id": 2, "segmentation": [corner]},
        ],
    }
    instances = tmp_path / "instances.json"
    instances.write_text(json.dumps(content))
    numbers = tmp_path / "numbers.json"

    run(monkeypatch, discs, instances, "--images", discs / "images", "--json", numbers)

    rows = [
        line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if "|" in line
    ]
    first = rows.index(f"{discs.name}, served")
    assert rows[first : first + 5] == [
        f"{discs.name}, served", "instances, served", "- road", "- wheel",
        "mean of 2 datasets, served",
    ]  # fmt: skip
    assert [one["scores"]["objects"] for one in json.loads(numbers.read_text())] == [1, 2]


def test_nothing_is_left_to_chance(discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = []
    for name in ("first.json", "second.json"):
        run(monkeypatch, discs, "--checkpoint", BUILTIN_PATH, "--json", discs / name)
        numbers.append((discs / name).read_text())
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param([], "give a PATH, --photographs or --scenes N", id="nothing"),
        pytest.param(["nowhere"], "there is no folder and no file nowhere", id="folder"),
        pytest.param(["--scenes", "1", "--checkpoint", "gone"], "no checkpoint file", id="file"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit, match=sentence):
        run(monkeypatch, *words)


def test_the_sheet_shows_the_worst_and_the_best(answering: Callable) -> None:
    answer = disc(64, 32, 32, 12)
    image = np.zeros((64, 64, 3), np.uint8)
    masks = {f"radius {radius}": disc(64, 32, 32, radius) for radius in range(4, 13)}
    extremes = Extremes(count=2)
    labelled = LabelledDataset("discs", 1, lambda index: LabelledImage("discs", image, masks))

    scores = evaluate.evaluate(answering(answer), labelled, STRATEGIES["iou-chained"], extremes)

    assert len(scores) == 9
    assert [trial.name for trial in extremes.worst] == ["discs, radius 4", "discs, radius 5"]
    assert [trial.name for trial in extremes.best] == ["discs, radius 12", "discs, radius 11"]
    sheet = draw_sheet(extremes)
    blue = (sheet[..., 2].astype(int) - sheet[..., 0]) > 60
    middle = sheet.shape[1] // 2
    assert blue[:, :middle].any() and blue[:, middle:].any()


def test_the_gallery_shows_the_true_outlines(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "gallery.png"
    monkeypatch.setattr(sys, "argv", ["gallery", str(discs), "--output", str(output)])
    gallery.main()
    with Image.open(output) as picture:
        yellow = (np.asarray(picture) == (255, 255, 0)).all(-1)
    assert yellow.any()
