"""`make demo`: a real Label Studio, a project of photographs, and the backend."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack

from backend.label_studio.errors import LabelStudioError
from demo.backend import ROOT, Backend
from demo.label_studio import EMAIL, PASSWORD, LabelStudio
from demo.pictures import pictures
from demo.process import free_port

TITLE = "MobileSAM demo"
DATA_DIR = ROOT / ".demo"
EXECUTABLE = ROOT / ".venv-label-studio" / "bin" / "label-studio"


def main() -> int:
    """Start everything, say where it is, and wait for Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as running:
        try:
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


def _start(running: ExitStack) -> str:
    """Start both servers; returns the project's address."""
    _say("starting Label Studio (the first start takes a minute)")
    label_studio = LabelStudio(EXECUTABLE, DATA_DIR / "label-studio", free_port(8080))
    running.callback(label_studio.stop)
    _say("starting the backend")
    backend = Backend(
        DATA_DIR / "backend.log",
        preferred_port=9090,
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.token,
    )
    running.callback(backend.stop)
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


def _say(sentence: str) -> None:
    print(f"demo: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
