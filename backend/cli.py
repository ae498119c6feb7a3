"""The operator's commands: `python -m backend NAME`. Each is a module of `backend.commands`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from backend import __version__
from backend.commands import connect, doctor, export, learn, preannotate, precompute
from backend.label_studio.errors import LabelStudioError
from backend.regions.errors import MalformedRequestError
from backend.settings import Settings
from backend.watchdog import EngineHungError
from model.files import sentence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 if a part of the work failed."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    try:
        run: Callable[[argparse.Namespace, Settings], int] = options.run
        return run(options, Settings.from_env().of_team(options.team))
    except (
        EngineHungError,
        LabelStudioError,
        MalformedRequestError,
        OSError,
        ValueError,
    ) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m backend")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (precompute, preannotate, export, learn, connect, doctor):
        command.add_to(commands)
    for added in commands.choices.values():
        added.add_argument(
            "--team", metavar="NAME", help="one of the Label Studios in the file of LABEL_STUDIOS"
        )
    return parser
