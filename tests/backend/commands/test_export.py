"""What `python -m backend export` says where there is nothing to write."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import cli

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Object"/></BrushLabels></View>'
)


@pytest.mark.parametrize("form", ["coco", "yolo", "png", "masks"])
def test_a_project_without_annotations(
    tmp_path: Path,
    serve: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    """No folder is left, which would be in the way of the next run."""
    task = {"id": 7, "data": {"image": "/data/upload/1/a.png"}, "annotations": []}
    for path, answer in {
        "projects/1": {"id": 1, "label_config": CONFIG},
        "tasks": {"tasks": [task], "total": 1},
        "dm/views/3": {"project": 1},
    }.items():
        folder = tmp_path / "studio" / "api" / path
        folder.mkdir(parents=True)
        (folder / "index.html").write_text(json.dumps(answer))
    monkeypatch.setenv("LABEL_STUDIO_URL", serve(tmp_path / "studio"))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    output = tmp_path / "out" / "dataset"
    options = ("--project", "1", "--filter", "3", "--format", form, "-o", str(output))
    assert cli.main(["export", *options]) == 1
    said = capsys.readouterr()
    assert said.out == "1 tasks without an annotation: left out\n"
    assert "error: nothing to export, so nothing was written\n" in said.err
    assert list(output.parent.iterdir()) == []
