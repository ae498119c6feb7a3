"""A worker whose engine hangs answers with errors, ends, and is replaced."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from backend import watchdog
from backend.watchdog import WatchedEngine
from model.types import DecoderInputs

Recorded = Callable[[str], dict]

# A worker whose encoder does as the file "encoder" says.
PLANTED = """
import pathlib, time
from backend import watchdog, worker

FILE = pathlib.Path(__file__).with_name("encoder")

class PlantedWorker(worker.WaitressWorker):
    def load_wsgi(self):
        from backend import service

        real = service.load_predictor

        def load_predictor(*arguments):
            predictor = real(*arguments)
            encode = predictor.engine.encode

            def planted(images):
                time.sleep(float(FILE.read_text()))
                return encode(images)

            predictor.engine.encode = planted
            return predictor

        service.load_predictor = load_predictor
        watchdog.DEADLINE_S = 8
        watchdog._LAST_ANSWERS_S = 15.0  # for a busy machine that runs the tests
        super().load_wsgi()
"""


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """The file with the seconds that an encode takes longer."""
    (tmp_path / "planted.py").write_text(PLANTED)
    path = tmp_path / "encoder"
    path.write_text("0")
    return path


def start(start_backend, encoder: Path, image_host: str, **settings: str):
    planted = f"--pythonpath {encoder.parent} --worker-class planted.PlantedWorker"
    return start_backend(LABEL_STUDIO_URL=image_host, GUNICORN_CMD_ARGS=planted, **settings)


def test_a_worker_whose_engine_hangs_is_replaced(
    start_backend, encoder: Path, image_host: str, recorded: Recorded
) -> None:
    backend = start(start_backend, encoder, image_host, THREADS="4")
    encoder.write_text("1e6")
    body = recorded("click_positive")["json"]
    other = recorded("click_exif_orientation_6")["json"]

    with ThreadPoolExecutor(2) as pool:  # one in the call, and one that waits for its turn
        answers = list(pool.map(lambda b: backend.client.post("/predict", json=b), [body, other]))
    for answer in answers:
        assert answer.status_code == 503
        assert "the model does not answer any more" in answer.json()["error"]
        assert answer.reason_phrase == answer.json()["error"]
    ready = backend.client.get("/ready")
    assert ready.status_code == 503
    assert "CRITICAL" in backend.log
    assert "has not answered for 8 s" in backend.log

    encoder.write_text("0")
    deadline = time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline
        try:
            if backend.client.get("/ready").status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    assert backend.client.post("/predict", json=body).json()["results"][0]["result"]
    assert "has not answered" in backend.client.get("/status").text


def test_a_slow_engine_is_left_alone(
    start_backend, encoder: Path, image_host: str, recorded: Recorded
) -> None:
    backend = start(start_backend, encoder, image_host)
    encoder.write_text("4")
    body = recorded("click_positive")["json"]
    assert backend.client.post("/predict", json=body).json()["results"][0]["result"]
    assert "CRITICAL" not in backend.log


class OneAtATime:
    """An engine whose calls wait for each other."""

    image_size = 64
    embedding_width = 1
    encode_batch = 1
    device = "cpu"
    description = "one at a time"

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def encode(self, images: list[np.ndarray]) -> np.ndarray:
        with self._lock:
            time.sleep(0.7)
            return np.zeros((1, 1, 4, 4), np.float32)

    def decode(self, *_: object) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError("from the engine")

    find_masks = decode


@pytest.mark.slow
def test_a_call_that_waits_for_others_has_not_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "DEADLINE_S", 3)
    engine = WatchedEngine(OneAtATime())
    image = np.zeros((64, 64, 3), np.uint8)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda _: engine.encode([image]), range(8)))) == 8
    assert not engine.has_hung


def test_errors_of_the_engine_reach_the_caller() -> None:
    engine = WatchedEngine(OneAtATime())
    nothing = np.zeros(1, np.float32)
    inputs = DecoderInputs(nothing, nothing, nothing.astype(np.int64))
    with pytest.raises(ValueError, match="from the engine"):
        engine.decode(inputs)
    with pytest.raises(ValueError, match="from the engine"):
        engine.find_masks(inputs, 0.7, 16)
