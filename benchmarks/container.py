"""Lays out the files of the Docker image in a folder, without Docker, and measures them.

python -m benchmarks.container [--target gpu] FOLDER

Follows the Dockerfile: the same environment from the same requirements, and the same files of this
repository. The base image and the weights (41 MB) are left out.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_DOCKERFILE = ROOT / "Dockerfile"


def stages(dockerfile: str) -> dict[str, tuple[str, list[str]]]:
    """By name, what a stage begins with and its instructions."""
    found: dict[str, tuple[str, list[str]]] = {}
    joined = re.sub(r"\\\n\s*", "", dockerfile)
    for line in joined.splitlines():
        words = line.split()
        if words[:1] == ["FROM"]:
            name = words[3] if len(words) > 3 else words[1]
            found[name] = (words[1], [])
        elif found and words and not line.startswith("#"):
            found[name][1].append(line)
    return found


def instructions(target: str) -> list[str]:
    """Of a stage of the Dockerfile and of all that it begins with, in order."""
    by_name = stages(_DOCKERFILE.read_text())
    collected: list[str] = []
    while target in by_name:
        target, own = by_name[target]
        collected = [*own, *collected]
    return collected


def lay_out(folder: Path, target: str = "cpu") -> None:
    """Make ``folder/venv`` and ``folder/app``.

    Raises:
        subprocess.CalledProcessError: a command of the Dockerfile failed.
    """
    for line in instructions(f"{target}-packages"):
        if line.startswith("RUN "):
            command = line.removeprefix("RUN ").replace("/venv", shlex.quote(str(folder / "venv")))
            command = command.replace("python -m", f"{shlex.quote(sys.executable)} -m")
            subprocess.run(command, shell=True, cwd=ROOT, check=True, stdout=sys.stderr)
    for line in instructions(target):
        words = line.split()
        if words[0] == "COPY" and not words[1].startswith("--"):
            _copy(words[1:-1], folder / "app")


def as_user(uid: int, gid: int) -> list[str]:
    """The beginning of a command that root runs as another user, who may be unknown to the system.

    The user may read all files, because the interpreter may be in a folder of root, but may write
    only where anybody of this user and group may.
    """
    return [
        *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
    ]


def size(folder: Path) -> int:
    """Bytes of all files."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def _copy(names: list[str], app: Path) -> None:
    app.mkdir(exist_ok=True)
    for name in names:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")  # as .dockerignore says
            shutil.copytree(ROOT / name, app / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, app / name)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.container")
    parser.add_argument("folder", type=Path, help="a new one")
    parser.add_argument("--target", choices=("cpu", "gpu"), default="cpu")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    folder = arguments.folder.resolve()
    lay_out(folder, arguments.target)
    for part in ("venv", "app"):
        print(f"{part}: {size(folder / part) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
