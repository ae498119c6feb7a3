"""Webhooks of any length that Label Studio sends, without much memory for what strangers send."""

import copy
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

Recorded = Callable[[str], dict]
MIB = 1 << 20


@pytest.fixture(scope="module")
def knowing(start_backend, image_host: str):
    return start_backend(LABEL_STUDIO_URL=image_host, CACHE_DISK_GB="0")


def jobs(backend) -> float:
    return backend.count("mobilesam_jobs_total")


def send(backend, body: dict | bytes) -> int:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return backend.client.post("/webhook", content=content).status_code


def test_an_annotation_with_megabytes_of_masks(knowing, recorded: Recorded) -> None:
    body = recorded("webhook_annotation_created")["json"]
    (*_, region) = body["annotation"]["result"]
    region["value"]["rle"] = [number % 256 for number in range(10_000)]
    body["annotation"]["result"] += [region] * 250
    bitmask = copy.deepcopy(region)
    bitmask["value"] = {"imageDataURL": "data:image/png;base64," + "iVBORw0KGgo" * 100_000}
    body["annotation"]["result"].append(bitmask)
    assert 10 * MIB < len(json.dumps(body)) < 16 * MIB
    before = jobs(knowing)
    assert send(knowing, body) == 201
    knowing.wait_for("mobilesam_jobs_total", before + 1)  # the tasks after this one are looked up


def test_an_import_of_thousands_of_tasks(knowing, recorded: Recorded) -> None:
    recorded_body = recorded("webhook_annotation_created")["json"]
    task = recorded_body["task"]
    tasks = [{**task, "id": number} for number in range(5000)]
    body = {"action": "TASKS_CREATED", "project": recorded_body["project"], "tasks": tasks}
    before = jobs(knowing)
    assert send(knowing, body) == 201
    knowing.wait_for("mobilesam_jobs_total", before + 1)


def test_long_bodies_of_strangers_take_little_memory(start_backend) -> None:
    backend = start_backend(CACHE_DISK_GB="0")
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(backend.process.pid)], capture_output=True, text=True
    )
    (worker,) = map(int, listed.stdout.split())
    nested = b'{"action": "TASKS_CREATED", "tasks": [' + b"[]," * (5 * MIB) + b"[]]}"
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # forget the peak of the start
    before = peak_bytes(worker)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: send(backend, nested), range(8))) == {413}
    assert peak_bytes(worker) - before < 150 * MIB


def peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def test_masks_inside_a_text_are_left_alone(knowing) -> None:
    text = {"action": 'say "rle": [1, 2]', "project": {"id": 1}}
    assert send(knowing, text) == 201
    broken = b'{"action": "X", "rle": [1, 2}'
    assert send(knowing, broken) == 400
