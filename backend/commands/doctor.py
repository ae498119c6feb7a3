"""`python -m backend doctor`: find out why a click brings no mask."""

from __future__ import annotations

import argparse

from backend.doctor import Doctor, Verdict
from backend.settings import Settings


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "doctor",
        help="find out why a click brings no mask",
        description="Checks everything from the weights to a mask with the settings of the backend."
        " Each check prints a line: verdict, name and sentence, separated by tabs. The verdict is"
        " ok, warn, FAIL or skip. The exit status is 1 after a FAIL.",
    )
    parser.add_argument("--project", type=int, metavar="ID", help="a project of Label Studio")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    def report(name: str, verdict: Verdict, sentence: str) -> None:
        print(verdict.value, name, sentence, sep="\t", flush=True)

    return 0 if Doctor(settings, options.project, report).run() else 1
