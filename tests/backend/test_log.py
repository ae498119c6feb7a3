"""The log names causes and remedies, without tracebacks. All workers share the last problems."""

import logging
import time
from pathlib import Path

import pytest
from filelock import FileLock

from backend.log import OneLine, Problems, keep_problems


def record(
    message: str, error: Exception | None = None, name: str = "backend.x"
) -> logging.LogRecord:
    raised = None
    if error is not None:
        try:
            raise error
        except Exception as caught:
            raised = (type(caught), caught, caught.__traceback__)
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, None, raised)


def test_an_exception_is_logged_as_its_class_and_place() -> None:
    line = OneLine().format(record("it failed", ValueError("someone's secret\nand more")))
    assert "ERROR" in line
    assert "it failed: ValueError in test_log.py:" in line
    assert "secret" not in line
    assert "Traceback" not in line
    assert "\n" not in line


def test_workers_share_their_problems(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "problems.json"
    one, other = Problems(path), Problems(path)
    one.emit(record("first"))
    other.emit(record("second"))
    one.emit(record("first"))
    for problems in (one, other, Problems(path)):
        assert [(p.sentence, p.count) for p in problems.last()] == [("first", 2), ("second", 1)]


def test_only_the_last_problems_are_kept(tmp_path: Path) -> None:
    problems = Problems(tmp_path / "problems.json")
    for number in range(60):
        problems.emit(record(f"problem {number}"))
    assert len(problems.last()) == 50
    assert problems.last()[0].sentence == "problem 59"


def test_one_source_does_not_displace_the_problems_of_others(tmp_path: Path) -> None:
    problems = Problems(tmp_path / "problems.json")
    problems.emit(record("the disk is full", name="backend.embeddings"))
    for number in range(200):
        problems.emit(record(f"problem {number}", name="backend.plugin"))
    kept = [p.sentence for p in problems.last()]
    assert len(kept) == 50
    assert kept[0] == "problem 199"
    assert kept[-1] == "the disk is full"


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"a": 1}]'])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "problems.json"
    path.write_text(content)
    problems = Problems(path)
    assert problems.last() == []
    problems.emit(record("new"))
    assert [p.sentence for p in Problems(path).last()] == ["new"]


def test_without_the_file_the_problems_stay_in_memory() -> None:
    problems = Problems(Path("/dev/null/problems.json"))
    problems.emit(record("first"))
    assert [p.sentence for p in problems.last()] == ["first"]


def test_logging_a_problem_does_not_wait_for_the_shared_file(tmp_path: Path) -> None:
    path = tmp_path / "problems.json"
    problems, logger = Problems(path), logging.getLogger("test_log")
    keep_problems(problems, logger)
    with FileLock(path.with_suffix(".lock")):  # as if another worker wrote
        logger.warning("somebody's token is %s", "wrong", exc_info=ValueError("secret"))
        assert not path.exists()
    deadline = time.monotonic() + 30
    while not problems.last():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (problem,) = problems.last()
    assert problem.sentence.startswith("somebody's token is wrong: ValueError")
    assert "secret" not in problem.sentence
