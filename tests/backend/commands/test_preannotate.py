"""What `python -m backend preannotate` refuses before it works on the first task."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import cli
from model.weights import BUILTIN_PATH

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image" smart="false">'
    '<Label value="Object"/><Label value="Other"/></BrushLabels></View>'
)


@pytest.fixture
def everything(
    tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs the command with --everything. Its Label Studio has a project and no tasks."""
    for path, answer in {
        "version": {"release": "1.23.2"},
        "projects/1": {"id": 1, "label_config": CONFIG, "model_version": "detector"},
        "tasks": {"tasks": []},
    }.items():
        folder = tmp_path / "api" / path
        folder.mkdir(parents=True)
        (folder / "index.html").write_text(json.dumps(answer))
    monkeypatch.setenv("LABEL_STUDIO_URL", serve(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")

    def run(*arguments: str) -> int:
        return cli.main(["preannotate", "--project", "1", "--everything", *arguments])

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            [],
            "every mask gets the same label, and there are several: choose one of"
            ' "Object", "Other" (--label)',
            id="several",
        ),
        pytest.param(
            ["--label", "Cat"],
            'masks cannot get the label "Cat": the tag for them has "Object", "Other" (--label)',
            id="unknown",
        ),
    ],
)
@pytest.mark.parametrize("how", [[], ["--dry-run"]], ids=["here", "dry-run"])
def test_everything_without_a_label_that_masks_can_have(
    everything: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
    how: list[str],
) -> None:
    assert everything(*arguments, *how) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"


@pytest.mark.slow
def test_without_a_prediction_there_is_no_word_of_how_to_show_predictions(
    everything: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOBILESAM_CHECKPOINT", str(BUILTIN_PATH))
    assert everything("--label", "Object") == 0
    said = capsys.readouterr().out
    assert said.startswith("0 predictions written")
    assert said.count("\n") == 1
