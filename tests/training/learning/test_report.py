"""What a run that has judged a decoder tells people."""

from typing import Any

import pytest

from training.learning.gate import Gain, Verdict
from training.learning.report import report_text

NAMES = ("1_click", "3_clicks", "5_clicks", "box", "iou", "noc_85")


def report(version: int | None, team: str) -> dict[str, Any]:
    gains = dict.fromkeys(NAMES, Gain(0.6, 0.7, 0.05))
    verdict = Verdict(version is not None, (), 24, 6, gains, 0.0, None, (0.7, 0.8))
    data = {"tasks": 30, "objects": 120, "origins": {"manual": 120}, "failures": []}
    return {
        "project": 5,
        "team": team,
        "version": version,
        "data": data,
        "verdict": verdict.scores,
    }


@pytest.mark.parametrize(
    ("team", "command"),
    [
        ("", "python -m backend learn --project 5 --activate 2"),
        ("red", "python -m backend learn --project 5 --team red --activate 2"),
    ],
)
def test_the_command_that_lets_a_version_serve_is_complete(team: str, command: str) -> None:
    first = report_text(report(2, team)).splitlines()[0]
    assert first == f"Project 5: version 2 is offered. To let it serve: {command}"


def test_without_a_version_there_is_nothing_to_activate() -> None:
    assert "--activate" not in report_text(report(None, "red"))
