"""The learner as a process of its own. The serving process never learns."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from backend import metrics_folder
from backend.learning.errors import LearningError, RunningError
from model import installation

logger = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
_LOG = "log.txt"
_in_background = threading.Lock()  # held while a learner that this process started goes on


def run(project_id: int, arguments: Sequence[str] = (), team: str = "") -> int:
    """Run the learner and wait for its end.

    Args:
        project_id: the project that learns.
        arguments: further arguments of ``python -m training.learning``.
        team: whose project learns, where several Label Studios use this backend.

    Returns:
        Its exit status: 0, or 1 if it could not learn.

    Raises:
        LearningError: torch or the learner is not installed here.
    """
    process = _start(project_id, arguments, team)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def run_in_background(
    project_id: int, folder: Path, arguments: Sequence[str] = (), team: str = ""
) -> None:
    """Start the learner and return. It goes on when this process ends.

    A second learner is not started before the first has ended.

    Args:
        project_id: the project that learns.
        folder: of the project's runs. Its file ``log.txt`` gets the output.
        arguments: further arguments of ``python -m training.learning``.
        team: whose project learns, where several Label Studios use this backend.

    Raises:
        RunningError: a learner that this process started goes on.
        LearningError: torch or the learner is not installed here.
        OSError: the folder cannot be written.
    """
    if not _in_background.acquire(blocking=False):
        raise RunningError(
            "a project learns on this machine already: try again when its run has ended"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / _LOG, "wb") as output:
            process = _start(project_id, arguments, team, output)
    except BaseException:
        _in_background.release()
        raise
    threading.Thread(target=_wait, args=(process,), name="learner", daemon=True).start()


def require_learner() -> None:
    """Check that this installation can learn.

    Raises:
        LearningError: it cannot.
    """
    if installation.missing(("torch", "timm", "training")):
        raise LearningError(
            "learning needs PyTorch, which is not installed here:"
            f" {installation.pip_install('-r', 'requirements.txt')} installs it, and so does make"
            " run GPU=1. Or use the Docker target gpu (serving a learnt decoder"
            " needs no PyTorch)"
        )


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Take notice of the end of a process, or it would stay in the table of processes."""
    try:
        process.wait()
    finally:
        _in_background.release()


def _start(
    project_id: int, arguments: Sequence[str], team: str, output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    require_learner()
    command = [sys.executable, "-m", "training.learning", "--project", str(project_id), *arguments]
    if team:
        command += ["--team", team]
    return subprocess.Popen(
        command,
        cwd=_ROOT,
        env=metrics_folder.outside(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=output is not None,
    )
