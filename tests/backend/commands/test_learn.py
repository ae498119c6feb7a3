"""The operator's side of learning: what is said of runs and versions, and which version serves."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from backend import cli
from backend.learning.runs import LearningRuns
from backend.versions.store import DecoderVersions
from model.decoder_file import DecoderRecord


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    return tmp_path / "projects"


def learn(*arguments: str) -> int:
    return cli.main(["learn", "--project", "1", *arguments])


def add_version(projects: Path) -> int:
    record = DecoderRecord("a" * 64, "b" * 64, {}, "2026-01-01T00:00:00+00:00")
    arrays = {"mask_decoder.iou_token.weight": np.ones((1, 4), np.float32)}
    return DecoderVersions(projects).add(1, arrays, record)


def test_before_the_first_run(projects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn("--status") == 0
    assert capsys.readouterr().out == (
        "no run has begun\nversions: none\nproject 1 is served by the base\n"
    )


def test_a_run_that_goes_on_and_a_run_that_was_stopped(
    projects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = LearningRuns(projects, None)
    with runs.hold(1):
        runs.note_progress(1, {"phase": "learning", "steps": 40})
        learn("--status")
        assert "a run goes on: learning, 40 steps\n" in capsys.readouterr().out
    learn("--status")
    assert "a run was stopped: learning, 40 steps." in capsys.readouterr().out


def test_without_redis_the_rest_is_still_told(
    projects: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = LearningRuns(projects, None)
    with runs.hold(1):
        runs.note_progress(1, {"phase": "learning", "steps": 40})
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert learn("--status") == 0
    output = capsys.readouterr().out
    assert "a run goes on, or was stopped: learning, 40 steps. Redis gives no answer" in output
    assert "versions: none" in output


def test_why_the_last_run_learnt_nothing(
    projects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = LearningRuns(projects, None)
    with runs.hold(1):
        runs.note_progress(1, {"phase": "ended", "sentence": "annotate more"})
    learn("--status")
    assert "the last run learnt nothing: annotate more\n" in capsys.readouterr().out


def test_a_version_is_activated_and_taken_back(
    projects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = add_version(projects)
    assert learn("--activate", str(number)) == 0
    assert capsys.readouterr().out == "project 1 is served by v1\n"
    assert DecoderVersions(projects).active(1) == 1
    assert learn("--rollback") == 0
    assert capsys.readouterr().out == "project 1 is served by the base\n"


def test_a_version_that_is_not_there_is_not_activated(
    projects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learn("--activate", "3") == 1
    assert "version 3 of project 1 cannot be used" in capsys.readouterr().err


def test_without_label_studio_there_is_a_sentence(
    projects: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    assert learn() == 1
    assert capsys.readouterr().err == (
        "error: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: the address of Label Studio and a"
        " personal access token of it\n"
    )


def test_without_torch_there_is_a_sentence(
    projects: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert learn() == 1
    assert "learning needs PyTorch, which is not installed here" in capsys.readouterr().err
