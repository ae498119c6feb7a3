"""Makes README's pictures with a real Label Studio, a real browser and the built-in weights.

    .venv/bin/python -m demo.screenshots

writes docs/click.png, docs/box.png and docs/polygon.png. Needs requirements-dev.txt and Chromium.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

try:
    from PIL import Image

    from demo.__main__ import EXECUTABLE
    from demo.backend import ROOT, Backend
    from demo.editor import Editor, headless_chromium
    from demo.label_studio import LabelStudio
    from demo.pictures import photograph_folder
    from model.weights import BUILTIN_PATH
except ModuleNotFoundError as error:
    raise SystemExit(
        f"error: {error.name} is not installed: make test-fast installs it into .venv"
    ) from None

_DOCS = ROOT / "docs"
_COLOURS = 256


def _click(editor: Editor) -> None:
    """One click on the helmet of the astronaut."""
    editor.choose("KeyPoint", "Object")
    editor.click(80, 75)


def _box(editor: Editor) -> None:
    """A box around one of 24 coins."""
    editor.choose("Rectangle", "Object")
    editor.drag(47.5, 32.5, 60.5, 48.5)


def _polygon(editor: Editor) -> None:
    """A box around the patch on the suit, answered with a polygon."""
    editor.choose("Rectangle", "Object")
    editor.drag(25, 67, 42, 83.5)


# File, labeling config, photograph, what the annotator does.
_PICTURES: tuple[tuple[str, str, str, Callable[[Editor], None]], ...] = (
    ("click.png", "keypoints-and-boxes.xml", "astronaut.png", _click),
    ("box.png", "keypoints-and-boxes.xml", "coins.png", _box),
    ("polygon.png", "polygons.xml", "astronaut.png", _polygon),
)


def main() -> int:
    """The command."""
    if not EXECUTABLE.exists():
        print("error: Label Studio is not installed: make test installs it", file=sys.stderr)
        return 1
    with ExitStack() as running:
        browser = running.enter_context(headless_chromium())
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        label_studio = LabelStudio(EXECUTABLE, folder / "label-studio")
        running.callback(label_studio.stop)
        backend = Backend(
            folder / "backend.log",
            LABEL_STUDIO_URL=label_studio.url,
            LABEL_STUDIO_API_KEY=label_studio.token,
            MOBILESAM_CHECKPOINT=str(BUILTIN_PATH),
            CACHE_DIR=str(folder / "cache"),
        )
        running.callback(backend.stop)
        editor = Editor(label_studio.url, browser)
        editor.log_in()
        for name, config, photograph, act in _PICTURES:
            project_id = label_studio.create_project(name, (ROOT / "examples" / config).read_text())
            content = (photograph_folder() / photograph).read_bytes()
            label_studio.upload(project_id, {photograph: content})
            label_studio.connect(project_id, backend.url)
            (task,) = label_studio.tasks(project_id)
            editor.open(project_id, task["id"])
            act(editor)
            editor.screenshot(_DOCS / name)
            _shrink(_DOCS / name)
            print(_DOCS / name, flush=True)
    return 0


def _shrink(path: Path) -> None:
    """Fewer colours make the file half as large, and the eye sees no difference."""
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    few.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
