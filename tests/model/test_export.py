"""Exported files answer as our engine does."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import Predictor, Prompt, load_predictor
from model import export as export_module
from model.__main__ import main
from model.checkpoint import Parameters
from model.openvino.exported import write_openvino
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "model-export.md").read_text()


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(BUILTIN_PATH, "openvino", "fp32")


def export(name: str, folder: Path) -> int:
    words = ["export", "--format", name, "-o", str(folder), "--checkpoint", str(BUILTIN_PATH)]
    return main(words)


def test_openvino(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("openvino", tmp_path / "exported") == 0
    report = json.loads(capsys.readouterr().out)
    names = sorted(path.name for path in (tmp_path / "exported").iterdir())
    assert names == ["decoder.bin", "decoder.xml", "encoder.bin", "encoder.xml"]
    assert report["files"] == [str(tmp_path / "exported" / name) for name in names]
    assert report["weights"] == "mobile-sam-builtin"
    assert report["relative_errors"].keys() == {
        "features",
        "low_res_masks",
        "iou_predictions",
        "refined_masks",
    }
    assert all(error < 1e-4 for error in report["relative_errors"].values())


def test_files_that_answer_otherwise_are_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_wrongly(parameters: Parameters, encoder: Path, decoder: Path) -> None:
        name = "prompt_encoder.no_mask_embed.weight"
        arrays = {**parameters.arrays, name: parameters.arrays[name] + np.float32(0.1)}
        write_openvino(Parameters(parameters.config, arrays), encoder, decoder)

    monkeypatch.setattr(export_module, "write_openvino", write_wrongly)
    assert export("openvino", tmp_path) == 1
    assert "answer otherwise than our engine: low_res_masks is off" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "absent", [["torch"], ["onnx", "onnxscript"], ["torch", "timm", "onnx", "onnxscript"]]
)
def test_packages_that_are_missing_are_named(
    absent: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for package in ("torch", "timm", "onnx", "onnxscript"):
        # `sys` stands for a package that is there.
        monkeypatch.setitem(sys.modules, package, None if package in absent else sys)
    assert export("onnx", tmp_path) == 1
    assert capsys.readouterr().err == (
        "error: the export to ONNX needs packages that are not installed"
        f" ({', '.join(absent)}): {sys.executable} -m pip install {' '.join(absent)}\n"
    )


def test_onnx_in_onnxruntime_as_the_page_says(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    image = np.full((720, 1280, 3), 170, np.uint8)
    image[100:600, 100:700] = (210, 40, 30)
    Image.fromarray(image).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    assert export("onnx", tmp_path / "exported") == 0
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, np.ndarray] = {}
    exec(compile(program, "docs/model-export.md", "exec"), names)
    pixels = np.asarray(Image.open(tmp_path / "photo.jpg"))
    expected = predictor.predict(predictor.embed(pixels), Prompt.from_points([(400, 370)])).mask
    assert expected.any()
    assert (names["mask"] != expected).mean() < 1e-4
