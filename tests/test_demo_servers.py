"""What `python -m demo` and `python -m demo.screenshots` refuse, in one sentence each."""

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from demo.backend import ROOT

pytestmark = pytest.mark.slow

COMMAND = """
import sys
from pathlib import Path
from demo import __main__ as demo
demo.DATA_DIR = Path(sys.argv[1])
sys.exit(demo.main())
"""


def test_a_second_demo_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "address").write_text("http://127.0.0.1:8080")
    with FileLock(tmp_path / "lock"):
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "error: a demo runs already at http://127.0.0.1:8080\n"


def test_pictures_without_the_packages_end_in_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "demo.screenshots"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: PIL is not installed: make test-fast installs it into .venv\n"
