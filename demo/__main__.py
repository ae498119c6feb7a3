"""`make demo`: a real Label Studio, a project of photographs, and the backend."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import httpx
from filelock import FileLock, Timeout

from backend.label_studio.errors import LabelStudioError
from backend.settings import Settings
from demo.backend import ROOT, Backend
from demo.label_studio import EMAIL, PASSWORD, LabelStudio
from demo.pictures import pictures
from demo.process import free_port
from model import weights

TITLE = "MobileSAM demo"
DATA_DIR = ROOT / ".demo"
_LABEL_STUDIO_PORT = 8080
_BACKEND_PORT = 9090
_ENDS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed
EXECUTABLE = ROOT / ".venv-label-studio" / "bin" / "label-studio"


def main() -> int:
    """Start everything, say where it is, and wait for Ctrl-C."""
    for number in _ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _end)
    with ExitStack() as running:
        try:
            _be_the_only_demo(running)
            url = _start(running)
            print(
                f"\n  Label Studio: {url}\n"
                f"  log in as:    {EMAIL}   {PASSWORD}\n\n"
                "  Open a task and switch Auto-Annotation on (bottom bar). Click the purple\n"
                "  points icon at the bottom of the toolbar, then the label in the first row,\n"
                "  then an object. Alt-click says 'not this'; the green tick accepts.\n\n"
                "  Ctrl-C ends both.\n",
                flush=True,
            )
            signal.pause()
        except (LabelStudioError, RuntimeError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("ending", flush=True)
    return 0


def _end(*_: object) -> NoReturn:
    for number in _ENDS:  # a second signal must not keep a server from being ended
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def _be_the_only_demo(running: ExitStack) -> None:
    """Take the lock of the data folder.

    Raises:
        RuntimeError: another demo has the lock.
    """
    DATA_DIR.mkdir(exist_ok=True)
    try:
        running.enter_context(FileLock(DATA_DIR / "lock", blocking=False))
    except Timeout as error:
        address = _address().read_text() if _address().exists() else "another address"
        raise RuntimeError(f"a demo runs already at {address}") from error


def _address() -> Path:
    """The file that tells a second demo where this demo is."""
    return DATA_DIR / "address"


def _start(running: ExitStack) -> str:
    """Start both servers; returns the project's address."""
    _say("starting Label Studio (the first start takes a minute)")
    port = free_port(_LABEL_STUDIO_PORT)
    _say_another_port(_LABEL_STUDIO_PORT, port, "Label Studio")
    _address().write_text(f"http://127.0.0.1:{port}")
    label_studio = LabelStudio(EXECUTABLE, DATA_DIR / "label-studio", port)
    running.callback(label_studio.stop)
    _say("starting the backend")
    backend = Backend(
        DATA_DIR / "backend.log",
        preferred_port=_BACKEND_PORT,
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.token,
    )
    running.callback(backend.stop)
    _say_another_port(_BACKEND_PORT, httpx.URL(backend.url).port, "the backend")
    _say_builtin(backend.url)
    project_id = _project(label_studio)
    label_studio.connect(project_id, backend.url)
    _say(f"the backend's log is {backend.log_path}")
    return f"{label_studio.url}/projects/{project_id}/data"


def _project(label_studio: LabelStudio) -> int:
    """The demo's project: the project of an earlier run, or a new one."""
    project_id = label_studio.find_project(TITLE)
    if project_id is not None:
        return project_id
    _say("making a project of photographs and synthetic scenes")
    files = pictures()
    config = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
    project_id = label_studio.create_project(TITLE, config)
    for name, content in files.items():  # one by one, or the tasks are in any order
        label_studio.upload(project_id, {name: content})
    return project_id


def _say_another_port(wanted: int, port: int | None, server: str) -> None:
    if port != wanted:
        _say(f"port {wanted} is in use by another program: {server} is on port {port}")


def _say_builtin(backend_url: str) -> None:
    """Say what to do about the small checkpoint, where it serves."""
    version = httpx.get(f"{backend_url}/health", timeout=60).json()["model_version"]
    if version == weights.BUILTIN_VERSION:
        remedy = weights.builtin_remedy(Settings.from_env().model_dir)
        _say(f"the masks are those of the built-in weights, {remedy}")


def _say(sentence: str) -> None:
    print(f"demo: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
