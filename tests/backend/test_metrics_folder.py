"""The counts of all workers survive reloads, and no full disk ends a worker."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

Recorded = Callable[[str], dict]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in a file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    with open(folder / "filling", "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def workers(backend) -> set[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(backend.process.pid)], capture_output=True, text=True
    )
    return {int(pid) for pid in listed.stdout.split()}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(backend) -> bool:
    try:
        return backend.client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def click(backend, recorded: Recorded) -> list[dict]:
    body = recorded("click_positive")["json"]
    (prediction,) = backend.client.post("/predict", json=body).json()["results"]
    return prediction["result"]


def test_a_worker_that_starts_on_a_full_disk_serves(
    start_backend, image_host: str, recorded: Recorded, small_disk: Path
) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host, TMPDIR=str(small_disk))
    assert click(backend, recorded)
    (folder,) = small_disk.glob("mobilesam-metrics-*")
    (old,) = workers(backend)
    fill(small_disk)
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: not workers(backend) <= {old})
    wait_until(lambda: answers(backend))
    (new,) = workers(backend)
    for _ in range(3):
        assert click(backend, recorded)
    assert workers(backend) == {new}, backend.log[-2000:]
    assert "has no space for the counts that workers share (No space left on device)" in backend.log
    assert backend.count("mobilesam_clicks_total") == 3
    assert not list(folder.glob(f"*_{new}.db"))


def test_a_reload_keeps_the_folder_and_the_counts(
    start_backend, image_host: str, recorded: Recorded, tmp_path: Path
) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host, TMPDIR=str(tmp_path))
    assert click(backend, recorded)
    folders = list(tmp_path.glob("mobilesam-metrics-*"))
    for _ in range(2):
        old = workers(backend)
        backend.process.send_signal(signal.SIGHUP)
        wait_until(lambda old=old: bool(workers(backend)) and not workers(backend) & old)
    wait_until(lambda: answers(backend))
    assert list(tmp_path.glob("mobilesam-metrics-*")) == folders
    assert click(backend, recorded)
    assert backend.count("mobilesam_clicks_total") == 2
    backend.stop()
    assert not list(tmp_path.glob("mobilesam-metrics-*"))
