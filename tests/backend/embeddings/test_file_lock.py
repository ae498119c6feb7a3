"""One process at a time holds the lock of a key, and no file is left behind."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.embeddings import file_lock
from backend.embeddings.disk_tier import DiskTier

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process that knows the project."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


COUNT = """
import sys
from pathlib import Path
from backend.embeddings import file_lock
for _ in range(200):
    with file_lock.hold(Path(sys.argv[1]), 60) as is_held:
        assert is_held
        counter = Path(sys.argv[2])
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def test_one_process_at_a_time_is_inside(tmp_path: Path) -> None:
    """The file of the lock is made and removed all the time meanwhile."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [python(COUNT, tmp_path / "lock", counter) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=120)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert counter.read_text() == "600"
    assert not (tmp_path / "lock").exists()


HOLD = """
import sys
from pathlib import Path
from backend.embeddings.disk_tier import DiskTier
with DiskTier(Path(sys.argv[1]), 1 << 20).hold(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def wait_until_held(process: subprocess.Popen[str]) -> None:
    assert process.stdout and process.stdout.readline() == "held\n"


def test_a_lock_of_one_image_does_not_stop_any_other_image(tmp_path: Path) -> None:
    tier, slow = DiskTier(tmp_path, 1 << 20), tmp_path / "locks" / "slow"
    with python(HOLD, tmp_path, "slow") as other:
        wait_until_held(other)
        with ExitStack() as held:
            for index in range(300):
                held.enter_context(tier.hold(f"key-{index}"))
            assert len(list(tmp_path.glob("locks/*"))) == 301
        with file_lock.hold(slow, 0) as is_held:
            assert not is_held
        other.kill()
    with file_lock.hold(slow, 60) as is_held:
        assert is_held
    assert not list(tmp_path.glob("locks/*"))


def test_lock_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 1 << 20)
    with python(HOLD, tmp_path, "killed") as killed, python(HOLD, tmp_path, "working") as working:
        for name, process in (("killed", killed), ("working", working)):
            wait_until_held(process)
            os.utime(tmp_path / "locks" / name, (0, 0))
        killed.kill()
        killed.wait()
        tier._remove_old_locks()
        assert [path.name for path in tmp_path.glob("locks/*")] == ["working"]
