"""The learner is a process of its own."""

import sys
import threading
from pathlib import Path

import pytest

from backend.learning import process
from backend.learning.errors import RunningError

pytestmark = pytest.mark.slow


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Takes the place of the learner."""
    path = tmp_path / "learner"
    path.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.setattr(process, "require_learner", lambda: None)
    return path


def test_the_learner_leaves_nothing_among_the_counts_of_the_workers(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text('#!/bin/sh\ntest -z "$PROMETHEUS_MULTIPROC_DIR"\n')
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert process.run(1) == 0


def test_a_second_learner_waits_for_the_end_of_the_first(program: Path, tmp_path: Path) -> None:
    is_learning = tmp_path / "is learning"
    is_learning.touch()
    program.write_text(f"#!/bin/sh\nwhile test -e '{is_learning}'; do sleep 0.05; done\n")
    before = set(threading.enumerate())
    process.run_in_background(1, tmp_path)
    with pytest.raises(RunningError, match="a project learns on this machine already"):
        process.run_in_background(2, tmp_path)
    is_learning.unlink()
    _join_all_but(before)
    process.run_in_background(2, tmp_path)
    _join_all_but(before)


def _join_all_but(threads: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - threads:
        thread.join()
