"""`python -m backend learn`: learn from a project's annotations, and choose what serves."""

from __future__ import annotations

import argparse

from backend.commands.project_options import require_label_studio
from backend.learning import process
from backend.learning.errors import LearningError
from backend.learning.runs import LearningRuns
from backend.service import connect_versions
from backend.settings import Settings
from backend.versions.store import DecoderVersions


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "learn",
        help="learn a decoder from a project's annotations",
        description="Learn from what annotators submitted, in a process of low priority. A learnt"
        " decoder becomes a version of the project only where it is better on held-out tasks. A"
        " version serves when it is activated. A run that was stopped goes on when the command is"
        " given again.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument("--project", type=int, required=True, metavar="ID")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--status", action="store_true", help="how far the run is, the last report, the versions"
    )
    instead.add_argument("--activate", type=int, metavar="N", help="let version N serve")
    instead.add_argument(
        "--rollback", action="store_true", help="let the version serve that served before"
    )
    parser.add_argument("--minutes", type=float, help="the longest training (default: 20)")
    parser.add_argument("--steps", type=int, help="the largest number of steps")
    parser.add_argument("--minimum-tasks", type=int, help="annotated tasks needed (default: 30)")
    parser.add_argument("--minimum-objects", type=int, help="objects needed (default: 100)")


def _run(options: argparse.Namespace, settings: Settings) -> int:
    project_id: int = options.project
    if options.status:
        return _show_status(project_id, settings)
    versions = connect_versions(settings)
    if options.activate is not None:
        versions.activate(project_id, options.activate)
    elif options.rollback:
        versions.rollback(project_id)
    else:
        require_label_studio(settings)
        return process.run(project_id, _arguments(options), settings.team)
    print(_serving(project_id, versions))
    return 0


def _arguments(options: argparse.Namespace) -> list[str]:
    """The numbers that were given, for the learner."""
    names = ("minutes", "steps", "minimum_tasks", "minimum_objects")
    given = {name: getattr(options, name) for name in names}
    return [
        text
        for name, value in given.items()
        if value is not None
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]


def _show_status(project_id: int, settings: Settings) -> int:
    runs = LearningRuns.of(settings)
    print(_progress(runs, project_id))
    text = runs.report(project_id).get("text")
    if text:
        print(f"\nThe last run that has ended:\n\n{text}\n")
    versions = connect_versions(settings)
    numbers = versions.versions(project_id)
    print(f"versions: {', '.join(map(str, numbers)) or 'none'}")
    print(_serving(project_id, versions))
    return 0


def _progress(runs: LearningRuns, project_id: int) -> str:
    progress = runs.progress(project_id)
    if not progress:
        return "no run has begun"
    if progress.get("sentence"):
        return f"the last run learnt nothing: {progress['sentence']}"
    steps = f", {progress['steps']} steps" if progress.get("steps") else ""
    try:
        is_running = runs.is_running(project_id)
    except LearningError as error:
        return f"a run goes on, or was stopped: {progress.get('phase')}{steps}. {error}"
    if is_running:
        return f"a run goes on: {progress.get('phase')}{steps}"
    return (
        f"a run was stopped: {progress.get('phase')}{steps}. The command without --status lets it"
        " go on."
    )


def _serving(project_id: int, versions: DecoderVersions) -> str:
    active = versions.active(project_id)
    return f"project {project_id} is served by {'the base' if active is None else f'v{active}'}"
