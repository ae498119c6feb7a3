"""An engine that computes wrongly is noticed at start, whichever part of it is wrong."""

import logging
from pathlib import Path

import numpy as np
import pytest
from openvino import opset13 as opset

from model import load_predictor, reference
from model.checkpoint import read_parameters
from model.openvino import self_check, tiny_vit, two_way_transformer
from model.openvino.engine import OpenVINOEngine
from model.openvino.self_check import BUILTIN_ANSWERS_PATH, verified_engine
from model.reference import Answers
from model.weights import BUILTIN_PATH, identify
from training.answers import builtin_answers

pytestmark = pytest.mark.slow


def load(path: Path, precision: str, folder: Path) -> OpenVINOEngine:
    return verified_engine(identify(path), precision, folder)


def answers_in(folder: Path) -> Path:
    """The file of answers that :func:`load` has kept."""
    (path,) = folder.glob("*/answers.npz")
    return path


def test_the_shipped_answers_are_those_of_torch() -> None:
    """``python -m training.answers`` writes them anew."""
    with open(BUILTIN_ANSWERS_PATH, "rb") as file:
        shipped = Answers.load(file)
    for name, expected in vars(builtin_answers()).items():
        found = getattr(shipped, name)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


class TestFp32:
    @pytest.mark.parametrize("is_builtin", [True, False], ids=["builtin", "other"])
    @pytest.mark.parametrize(
        ("module", "function", "wrong"),
        [
            pytest.param(tiny_vit, "gelu", lambda x: opset.gelu(x, "TANH"), id="encoder"),
            pytest.param(two_way_transformer, "layer_norm", lambda x, part: x, id="decoder"),
        ],
    )
    def test_a_wrong_graph_or_kernel_hands_over_to_torch(
        self,
        tiny_checkpoint: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        is_builtin: bool,
        module: object,
        function: str,
        wrong: object,
    ) -> None:
        """As if the processor or OpenVINO computed wrongly, and in the same way each time."""
        monkeypatch.setattr(module, function, wrong)
        path = BUILTIN_PATH if is_builtin else tiny_checkpoint
        predictor = load_predictor(path, "auto", "fp32", tmp_path)
        assert predictor.engine.description.startswith("torch on cpu, fp32, since OpenVINO failed")
        assert "is off by" in caplog.text

    def test_what_was_right_once_is_still_compared(
        self, tiny_checkpoint: Path, tmp_path: Path
    ) -> None:
        load(tiny_checkpoint, "fp32", tmp_path)
        kept = answers_in(tmp_path)
        with open(kept, "rb") as file:
            answers = vars(Answers.load(file))
        with open(kept, "wb") as file:
            Answers(**{**answers, "iou_predictions": answers["iou_predictions"] * 1.01}).save(file)
        with pytest.raises(reference.WrongAnswerError, match="iou_predictions is off by 0.0099"):
            load(tiny_checkpoint, "fp32", tmp_path)


@pytest.fixture
def wrong_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features a tenth too large, in bf16 only."""
    encode = OpenVINOEngine.encode

    def wrong(engine: OpenVINOEngine, image: np.ndarray) -> np.ndarray:
        return encode(engine, image) * (1.1 if engine.description.endswith("bf16") else 1)

    monkeypatch.setattr(OpenVINOEngine, "encode", wrong)


@pytest.mark.usefixtures("wrong_bf16")
@pytest.mark.parametrize("is_builtin", [True, False], ids=["builtin", "other"])
def test_a_precision_that_is_wrong_falls_back_to_fp32(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_builtin: bool
) -> None:
    path = BUILTIN_PATH if is_builtin else tiny_checkpoint
    engine = load(path, "bf16", tmp_path)
    assert engine.description == "OpenVINO on cpu, fp32, since bf16 failed its self-check"
    assert "OpenVINO failed its self-check in bf16 (features is off by 0.1" in caplog.text
    exact, image = OpenVINOEngine(read_parameters(path), "fp32"), np.zeros((9, 9, 3), np.uint8)
    np.testing.assert_array_equal(engine.encode([image]), exact.encode([image]))


class TestWhatIsKept:
    def test_answers_are_computed_once(
        self, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load(tiny_checkpoint, "fp32", tmp_path / "new")
        kept = answers_in(tmp_path / "new")
        assert kept.stat().st_mode & 0o777 == 0o644
        monkeypatch.setattr(self_check, "BUILTIN_PATH", tmp_path / "not needed again")
        load(tiny_checkpoint, "fp32", tmp_path / "new")

    def test_another_openvino_needs_its_own(
        self, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load(tiny_checkpoint, "fp32", tmp_path)
        monkeypatch.setattr("openvino.get_version", lambda: "another")
        load(tiny_checkpoint, "fp32", tmp_path)
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_damaged_file_is_replaced(
        self, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        load(tiny_checkpoint, "fp32", tmp_path)
        kept = answers_in(tmp_path)
        whole = kept.read_bytes()
        kept.write_bytes(whole[: len(whole) // 2])
        load(tiny_checkpoint, "fp32", tmp_path)
        assert "the answers are computed anew" in caplog.text
        assert len(kept.read_bytes()) == len(whole)

    def test_a_folder_that_cannot_be_written_to(
        self, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("no folder")
        with caplog.at_level(logging.INFO):
            engine = load(tiny_checkpoint, "fp32", tmp_path / "file" / "answers")
        assert engine.description == "OpenVINO on cpu, fp32"
        assert "nothing of OpenVINO is kept" in caplog.text

    def test_the_built_in_checkpoint_needs_none(self, tmp_path: Path) -> None:
        load(BUILTIN_PATH, "fp32", tmp_path)
        assert not list(tmp_path.glob("*/answers.npz"))

    def test_damaged_graphs_are_compiled_anew(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        image = np.zeros((9, 9, 3), np.uint8)
        expected = load(tiny_checkpoint, "fp32", tmp_path).encode([image])
        graphs = list(tmp_path.glob("*/*.blob"))
        assert len(graphs) == 4
        for index, path in enumerate(graphs):
            path.chmod(0o600)
            path.write_bytes(b"damaged" if index % 2 else path.read_bytes()[:500])
        np.testing.assert_array_equal(
            load(tiny_checkpoint, "fp32", tmp_path).encode([image]), expected
        )
