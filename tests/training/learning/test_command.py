"""What `python -m training.learning` leaves for `--status` where it learns nothing."""

import os
from pathlib import Path

import pytest

from backend.learning.errors import LearningError, TooLittleError
from backend.learning.runs import LearningRuns
from training.learning import __main__ as command


@pytest.mark.parametrize(
    ("error", "known"),
    [
        pytest.param(TooLittleError("annotate more", 12), {"annotations": 12}, id="too little"),
        pytest.param(LearningError("annotate more"), {}, id="another reason"),
    ],
)
def test_why_nothing_was_learnt_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: LearningError, known: dict[str, int]
) -> None:
    def refuse(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(command, "learn_project", refuse)
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert command.main(["--project", "1"]) == 1
    noted = LearningRuns(tmp_path / "projects", None).progress(1)
    assert noted == {"phase": "ended", "sentence": "annotate more", **known}
