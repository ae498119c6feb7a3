"""Detectors: what they must answer, and how their labels become those of the labeling config."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from backend.http.client import HttpClient
from backend.images.fetching import Fetcher
from backend.images.loading import ImageLoader
from backend.label_studio.client import LabelStudio
from backend.predictions import detectors
from backend.predictions.errors import DetectorError
from backend.regions.labeling_config import LabelingConfig

CONFIG = LabelingConfig.parse(
    """<View>
      <Image name="image" valueList="$pages"/>
      <BrushLabels name="brush" toName="image"><Label value="Cat" alias="c"/></BrushLabels>
      <RectangleLabels name="box" toName="image">
        <Label value="Cat" alias="c"/><Label value="dog"/><Label value="Dog"/>
      </RectangleLabels>
    </View>"""
)


def data_uri(width: int, height: int) -> str:
    content = BytesIO()
    Image.new("RGB", (width, height)).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


TASK = {"id": 1, "data": {"pages": [data_uri(200, 100), data_uri(50, 50)]}}


@pytest.fixture
def detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], detectors.Detector]:
    """Makes a detector of the expression that its function returns."""
    http = HttpClient()
    images = ImageLoader(Fetcher(LabelStudio(None, None, http), http))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "one_detector", raising=False)

    def make(answer: str) -> detectors.Detector:
        code = f"def detect(image):\n    height, width, _ = image.shape\n    return {answer}\n"
        (tmp_path / "one_detector.py").write_text(code)
        return detectors.connect("one_detector:detect", images, http)

    return make


def test_boxes_of_each_image(detector: Callable[[str], detectors.Detector]) -> None:
    found = detector("[(0, 0, width, height), (10, 20, 30, 50)], ['c', 'Dog'], [1, 1]").boxes(
        TASK, CONFIG
    )
    assert [(box.item_index, box.rectangle, box.reported_size) for box in found] == [
        (0, (0, 0, 100, 100, 0), (100, 200)),
        (0, (5, 20, 10, 30, 0), (100, 200)),
        (1, (0, 0, 100, 100, 0), (50, 50)),
        (1, (20, 40, 40, 60, 0), (50, 50)),
    ]
    assert [label.value for box in found[:2] for label in box.labels] == ["Cat", "Dog"]


def test_labels_differ_in_case_only_where_none_is_the_same(
    detector: Callable[[str], detectors.Detector],
) -> None:
    one = detector("[(0, 0, 1, 1)] * 4, ['Dog', 'DOG', 'CAT', 'bird'], [1] * 4")
    found = one.boxes(TASK, CONFIG)
    assert [box.labels[0].value for box in found[:3]] == ["Dog", "dog", "Cat"]
    assert one.unknown.counts() == {"bird": 2}


def test_no_boxes(detector: Callable[[str], detectors.Detector]) -> None:
    assert detector("[], [], []").boxes(TASK, CONFIG) == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("[(0, 0, 1, 1)], [], [1]", id="no label"),
        pytest.param("[(0, 0, 1)], ['c'], [1]", id="three corners"),
        pytest.param("[(0, 0, 1, float('nan'))], ['c'], [1]", id="not finite"),
        pytest.param("[(0, 0, 1, 10**400)], ['c'], [1]", id="too large"),
        pytest.param("None, None, None", id="nothing"),
    ],
)
def test_answers_that_do_not_fit(
    detector: Callable[[str], detectors.Detector], answer: str
) -> None:
    with pytest.raises(DetectorError, match="must give N boxes"):
        detector(answer).boxes(TASK, CONFIG)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        pytest.param("1 / 0", "the detector fails: ZeroDivisionError", id="fails"),
        pytest.param("[]", "the detector fails: ValueError: not enough values", id="no three"),
    ],
)
def test_functions_that_fail(
    detector: Callable[[str], detectors.Detector], answer: str, sentence: str
) -> None:
    with pytest.raises(DetectorError, match=sentence):
        detector(answer).boxes(TASK, CONFIG)


@pytest.mark.parametrize(
    "name",
    ["no_such_module:detect", "json:gone", "json", "", ":detect", "ml+json:loads", "http://"],
)
def test_names_that_are_no_detector(name: str) -> None:
    http = HttpClient()
    images: Any = None  # nothing is loaded
    with pytest.raises(DetectorError, match="is no detector: give module:function|is no URL of a"):
        detectors.connect(name, images, http)


@pytest.mark.slow  # torch and ultralytics take seconds to import
def test_the_example_for_ultralytics(tmp_path: Path) -> None:
    """The weights are random: there is no download here. Their boxes are many."""
    script = (
        "import numpy as np\n"
        "from examples import ultralytics_detector as example\n"
        "import sys; assert 'ultralytics' not in sys.modules\n"
        "example.MODEL, example.LEAST_SCORE = 'yolo11n.yaml', 0.0\n"
        "boxes, labels, scores = example.detect(np.zeros((240, 320, 3), np.uint8))\n"
        "assert len(labels) and boxes.shape == (len(labels), 4) and len(scores) == len(labels)\n"
        "assert boxes[:, [0, 2]].max() <= 320 and boxes[:, [1, 3]].max() <= 240\n"
        "assert all(isinstance(label, str) for label in labels)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_OFFLINE": "true"},  # noqa: TID251
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
