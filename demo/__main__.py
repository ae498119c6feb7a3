"""`make demo`: a real Label Studio, a project with sample images, and the backend."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from io import BytesIO

import numpy as np
from PIL import Image

from demo.backend import ROOT, Backend
from demo.label_studio import EMAIL, PASSWORD, LabelStudio
from demo.process import free_port
from training import scenes

TITLE = "MobileSAM demo"
DATA_DIR = ROOT / ".demo"
EXECUTABLE = ROOT / ".venv-label-studio" / "bin" / "label-studio"
IMAGE_COUNT = 8
IMAGE_SIZE = 1024


def main() -> int:
    """Start everything, say where it is, and wait for Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as running:
        try:
            url = _start(running)
            print(
                f"\n  Label Studio: {url}\n"
                f"  log in as:    {EMAIL}   {PASSWORD}\n\n"
                "  Open a task, switch Auto-Annotation on (bottom bar), choose the smart tool and\n"
                "  a label, and click an object. Alt-click says 'not this'; the green tick\n"
                "  accepts.\n\n"
                "  Ctrl-C ends both.\n",
                flush=True,
            )
            signal.pause()
        except RuntimeError as error:
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
    """The demo's project: the one of an earlier run, or a new one with drawn images."""
    for project in label_studio.projects():
        if project["title"] == TITLE:
            return int(project["id"])
    _say("drawing sample images")
    config = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
    project_id = label_studio.create_project(TITLE, config)
    label_studio.upload(project_id, {f"sample-{i}.jpg": _sample(i) for i in range(IMAGE_COUNT)})
    return project_id


def _sample(seed: int) -> bytes:
    image = scenes.generate(np.random.default_rng(seed), IMAGE_SIZE).image
    content = BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=92)
    return content.getvalue()


def _say(sentence: str) -> None:
    print(f"demo: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
