"""A worker gives the memory of large images back to the system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.weights import BUILTIN_PATH

ROOT = Path(__file__).parents[2]

# Threads load images, and small blocks that stay lie between the images. This is a worker without
# gunicorn: _wsgi has everything that a worker does before its first request.
LOAD_IMAGES = """
import threading
from pathlib import Path
import _wsgi
import numpy as np

kept = []

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def load():
    for _ in range(8):
        image = np.ones(12 << 20, np.uint8)
        larger = np.ones(24 << 20, np.uint8)
        kept.append(np.ones(20_000, np.uint8))

before = resident_bytes()
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident_bytes() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells the memory")
def test_a_worker_returns_the_memory_of_large_images(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_IMAGES],
        cwd=ROOT,
        env={
            **os.environ,  # noqa: TID251
            "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
            "CACHE_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60 << 20  # glibc's own settings keep more than 150 MiB
