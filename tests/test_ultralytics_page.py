"""The examples of docs/ultralytics.md run."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.__main__ import main
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[1] / "docs" / "ultralytics.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the examples name."""
    image = np.full((720, 1280, 3), 170, np.uint8)
    image[100:600, 100:700] = (210, 40, 30)
    image[200:700, 750:1100] = (30, 60, 200)
    for path in (tmp_path / "photo.jpg", tmp_path / "photos" / "a.jpg"):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "detections").mkdir()
    (tmp_path / "detections" / "a.txt").write_text("0 0.3 0.5 0.45 0.7\n")
    shutil.copy(BUILTIN_PATH, tmp_path / "mobile_sam.pt")
    monkeypatch.chdir(tmp_path)


def test_there_are_examples_of_both_kinds() -> None:
    assert len(PROGRAMS) >= 4
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_run(program: str) -> None:
    exec(compile(program, "docs/ultralytics.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    assert words[:3] == [".venv/bin/python", "-m", "model"]
    assert main([*words[3:], "--checkpoint", "mobile_sam.pt"]) == 0, capsys.readouterr().err
    if "-o" in words:
        assert Path(words[words.index("-o") + 1]).exists()
