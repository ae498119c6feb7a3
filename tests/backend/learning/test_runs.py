"""There is one run of a project at a time, and what it reports is found again."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.learning.errors import LearningError, RunningError
from backend.learning.runs import LearningRuns

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from backend.learning.runs import LearningRuns
with LearningRuns(Path(sys.argv[1]), None).hold(1):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_of_a_project_is_refused(tmp_path: Path) -> None:
    runs, others = LearningRuns(tmp_path, None), LearningRuns(tmp_path, None)
    with runs.hold(1):
        assert others.is_running(1)
        with pytest.raises(RunningError, match="a run of project 1 goes on"), others.hold(1):
            pass
    assert not others.is_running(1)
    with others.hold(1):
        pass


def test_one_project_at_a_time_learns_on_a_machine(tmp_path: Path) -> None:
    runs, others = LearningRuns(tmp_path, None, "red"), LearningRuns(tmp_path, None, "blue")
    with runs.hold(1):
        assert not others.is_running(2)
        for attempt in (others.hold(2).__enter__, others.require_free_machine):
            with pytest.raises(RunningError, match="another project learns on this machine"):
                attempt()
    others.require_free_machine()


def test_the_advice_names_the_team(tmp_path: Path) -> None:
    runs = LearningRuns(tmp_path, None, "red")
    with (
        runs.hold(1),
        pytest.raises(RunningError, match="learn --project 1 --team red --status"),
        runs.hold(1),
    ):
        pass


@pytest.mark.slow
def test_a_killed_run_does_not_bar_the_next(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    runs = LearningRuns(tmp_path, None)
    assert runs.is_running(1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not runs.is_running(1)


def test_hosts_that_share_no_folder_agree_through_redis(
    redis_server: tuple[subprocess.Popen, str], tmp_path: Path
) -> None:
    _, url = redis_server
    here, there = LearningRuns(tmp_path / "a", url), LearningRuns(tmp_path / "b", url)
    with here.hold(1):
        assert there.is_running(1)
        assert not there.is_running(2)
    assert not there.is_running(1)


def test_without_an_answer_of_redis_nothing_runs(tmp_path: Path) -> None:
    runs = LearningRuns(tmp_path, "redis://127.0.0.1:1")
    with pytest.raises(LearningError, match="Redis gives no answer"), runs.hold(1):
        pass
    with pytest.raises(LearningError, match="Redis gives no answer"):
        runs.is_running(1)


def test_progress_is_there_until_the_report(tmp_path: Path) -> None:
    runs = LearningRuns(tmp_path, None)
    with runs.hold(1):
        runs.note_progress(1, {"phase": "learning", "steps": 7})
        assert runs.progress(1) == {"phase": "learning", "steps": 7}
        assert runs.report(1) == {}
        runs.note_report(1, {"version": 3})
    assert (runs.progress(1), runs.report(1)) == ({}, {"version": 3})


def test_a_damaged_report_is_none(tmp_path: Path) -> None:
    runs = LearningRuns(tmp_path, None)
    runs.folder(1).mkdir(parents=True)
    (runs.folder(1) / "report.json").write_text("[1")
    assert runs.report(1) == {}
