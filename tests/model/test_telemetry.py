"""Nothing of what runs is reported to anybody."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import socket, sys
looked_up = []
def record(name):
    def recording(*arguments, **options):
        looked_up.append((name, arguments))
        raise OSError("no network in this test")
    return recording
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    setattr(socket, name, record(name))
socket.socket.connect = record("connect")

import threading
from model import load_predictor
from model.weights import BUILTIN_PATH
load_predictor(BUILTIN_PATH, "openvino", "fp32")
for thread in threading.enumerate():  # what reports may do so beside the rest
    if thread is not threading.main_thread():
        thread.join(30)
assert "openvino" in sys.modules
assert not looked_up, looked_up
"""


def test_openvino_looks_nothing_up_and_writes_nothing(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert not list(tmp_path.iterdir())
