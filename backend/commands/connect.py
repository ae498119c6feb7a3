"""`python -m backend connect`: let Label Studio send a project's clicks here."""

from __future__ import annotations

import argparse
from pathlib import Path

from backend.connect import Wanted, connect
from backend.settings import Settings

_CONFIG = Path(__file__).parents[2] / "examples" / "keypoints-and-boxes.xml"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "connect",
        help="let Label Studio send the clicks of a project to this backend",
        description="Signs in to Label Studio with the backend's token. Where there is none,"
        " LABEL_STUDIO_USERNAME and LABEL_STUDIO_PASSWORD make a token, and"
        " LABEL_STUDIO_API_KEY_FILE keeps it. Then the command finds or makes the project and"
        " registers the backend in the project. The command may run again at any time.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--backend-url",
        required=True,
        metavar="URL",
        help="the address at which Label Studio reaches the backend",
    )
    project = parser.add_mutually_exclusive_group(required=True)
    project.add_argument("--project", type=int, metavar="ID", help="a project of Label Studio")
    project.add_argument(
        "--new-project",
        metavar="TITLE",
        help="the title of a project, which is made unless there is one with this title",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=_CONFIG,
        metavar="FILE",
        help="with --new-project: the labeling config (default: points, boxes and brush masks)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0,
        metavar="SECONDS",
        help="how long Label Studio and the backend may take to answer",
    )


def _run(options: argparse.Namespace, settings: Settings) -> int:
    project: int | str = options.project if options.new_project is None else options.new_project
    wanted = Wanted(options.backend_url.rstrip("/"), project, options.config, options.wait)
    connect(settings, wanted, lambda sentence: print(sentence, flush=True))
    return 0
