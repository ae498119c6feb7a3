"""MobileSAM from the command line: `python -m model`.

python -m model photo.jpg --point 420,310 100,80,0 --box 280,80,520,320 -o overlay.png
python -m model auto-annotate photos --boxes detections
python -m model export --format onnx -o exported
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from model.commands import auto_annotate, export, segment
from model.files import sentence

# Commands with a name. Everything else is a source: the command without a name segments.
_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "auto-annotate": auto_annotate.run,
    "export": export.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0, 1 if anything failed, or 130 after an interruption (Ctrl-C).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    run = _COMMANDS.get(words[0]) if words else None
    try:
        return run(words[1:]) if run else segment.run(words)
    except (OSError, ValueError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was done is written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
