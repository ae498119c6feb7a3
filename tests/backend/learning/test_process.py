"""The learner is a process of its own: what it takes over from the process that starts it."""

import sys
from pathlib import Path

import pytest

from backend.learning import process


@pytest.mark.slow
def test_the_learner_leaves_nothing_among_the_counts_of_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "learner"
    program.write_text('#!/bin/sh\ntest -z "$PROMETHEUS_MULTIPROC_DIR"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(process, "require_learner", lambda: None)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert process.run(1) == 0
