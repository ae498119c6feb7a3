"""The learner: ``python -m training.learning --project 1``.

``python -m backend learn`` and Label Studio's *Start training* start this process. It has a low
priority, so it takes only what serving leaves.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import torch

from backend.http.errors import HttpClientError
from backend.label_studio.errors import LabelStudioError
from backend.learning.errors import LearningError, TooLittleError
from backend.learning.runs import LearningRuns
from backend.settings import Settings
from training.learning.decoder import Recipe
from training.learning.project import Plan, learn_project

_NICENESS = 15


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the learner. Returns the exit status: 0, or 1 if there was nothing to judge."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    os.nice(_NICENESS)
    settings = Settings.from_env().of_team(options.team)
    try:
        report = learn_project(plan, settings)
    except (LabelStudioError, HttpClientError, OSError, ValueError) as error:
        _note(settings, plan, error)
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report["text"])
    return 0


def _note(settings: Settings, plan: Plan, error: Exception) -> None:
    """Keep the sentence for --status, since the button of Label Studio shows nothing."""
    runs = LearningRuns.of(settings)
    known = {"annotations": error.annotations} if isinstance(error, TooLittleError) else {}
    with suppress(LearningError):  # another host may write its progress
        if not runs.is_running(plan.project_id):
            runs.note_progress(plan.project_id, {"phase": "ended", "sentence": str(error), **known})


def _parser() -> argparse.ArgumentParser:
    defaults = Plan(0)
    parser = argparse.ArgumentParser(prog="python -m training.learning", description=__doc__)
    parser.add_argument("--project", type=int, required=True, metavar="ID")
    parser.add_argument("--team", metavar="NAME")
    parser.add_argument("--minutes", type=float, default=defaults.minutes)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--minimum-tasks", type=int, default=defaults.minimum_tasks)
    parser.add_argument("--minimum-objects", type=int, default=defaults.minimum_objects)
    parser.add_argument("--if-changed", action="store_true")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        options.project,
        dataclasses.replace(Recipe(), steps=options.steps),
        options.minutes,
        options.minimum_tasks,
        options.minimum_objects,
        "cuda" if torch.cuda.is_available() else "cpu",
        options.if_changed,
    )


if __name__ == "__main__":
    sys.exit(main())
