"""`python -m model`, as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model", *map(str, arguments), "--checkpoint", BUILTIN_PATH],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    image = np.full((240, 320, 3), 40, dtype=np.uint8)
    image[60:180, 100:220] = (220, 60, 40)
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    return path


def test_one_json_line_and_a_picture(photo: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.png"
    done = run(
        photo,
        *("--point", "160,120", "--point", "20,20,0", "--box", "95,55,225,185"),
        *("--output", overlay),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert report["weights"] == "mobile-sam-builtin"
    assert 0 < report["area"] <= 240 * 320
    assert report.keys() >= {"iou_prediction", "embed_ms", "predict_ms"}
    with Image.open(overlay) as picture, Image.open(photo) as original:
        assert picture.size == (320, 240)
        assert np.asarray(picture).tolist() != np.asarray(original).tolist()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        pytest.param([], 2, "at least one --point", id="no-prompt"),
        pytest.param(["--point", "a,b"], 2, "'a,b' must be 2 or 3 numbers", id="no-numbers"),
        pytest.param(["--point", "1,2,5"], 2, "must be 1 or 0", id="label"),
        pytest.param(["--box", "1,2,3"], 2, "'1,2,3' must be 4 numbers", id="box"),
        pytest.param(["--point", "1,nan"], 1, "finite", id="nan"),
    ],
)
def test_wrong_arguments(photo: Path, arguments: list[str], status: int, sentence: str) -> None:
    done = run(photo, *arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_no_image(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    for path, sentence in [(text, "no image that Pillow can read"), (tmp_path / "x", "No such")]:
        done = run(path, "--point", "1,1")
        assert done.returncode == 1
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
