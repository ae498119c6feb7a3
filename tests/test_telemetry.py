"""Nothing of what runs is reported to anybody."""

import subprocess
import sys
from pathlib import Path

import pytest

from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

PROGRAM = """
import socket, sys
def record(name):
    def recording(*arguments, **options):
        with open(sys.argv[2], "a") as file:  # a file, as a child process may do it
            print(name, arguments, file=file)
        raise OSError("no network in this test")
    return recording
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    setattr(socket, name, record(name))
socket.socket.connect = record("connect")

import multiprocessing, threading
from pathlib import Path
exec(sys.argv[3])
for thread in threading.enumerate():  # what reports may do so beside the rest
    if thread is not threading.main_thread():
        thread.join(30)
for child in multiprocessing.active_children():
    child.join(30)
assert "openvino" in sys.modules
"""


ENGINE = """
from model import load_predictor
from model.weights import BUILTIN_PATH
load_predictor(BUILTIN_PATH, "openvino", "fp32", Path(sys.argv[1]))
"""
SERVER = "import _wsgi"


@pytest.mark.parametrize("program", [ENGINE, SERVER], ids=["engine", "server"])
def test_nothing_is_looked_up_and_nothing_is_written(tmp_path: Path, program: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "models", tmp_path / "looked up", program],
        cwd=ROOT,
        env={
            "HOME": str(home),
            "CACHE_DIR": str(tmp_path / "cache"),
            "MODEL_DIR": str(tmp_path / "models"),
            "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "looked up").exists()
    assert not list(home.iterdir())
