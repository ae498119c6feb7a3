"""What a GPU changes in the service. The device is played: its engine only says its name."""

from collections.abc import Callable
from pathlib import Path

import pytest

Recorded = Callable[[str], dict]

# A worker whose engine says that it is on CUDA, where no memory is left.
PLANTED = """
from backend import worker
from model.engines import OutOfDeviceMemoryError

class PlantedWorker(worker.WaitressWorker):
    def load_wsgi(self):
        from backend import service

        real = service.load_predictor

        def load_predictor(*arguments):
            predictor = real(*arguments)

            def full(images):
                raise OutOfDeviceMemoryError("cuda")

            predictor.engine.device = "cuda"
            predictor.engine.encode = full
            return predictor

        service.load_predictor = load_predictor
        super().load_wsgi()
"""


@pytest.fixture
def planted(tmp_path: Path) -> str:
    (tmp_path / "planted_gpu.py").write_text(PLANTED)
    return f"--pythonpath {tmp_path} --worker-class planted_gpu.PlantedWorker"


def test_a_click_without_room_on_the_gpu_is_told(
    start_backend, planted: str, image_host: str, recorded: Recorded
) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host, GUNICORN_CMD_ARGS=planted)
    answer = backend.client.post("/predict", json=recorded("click_positive")["json"])
    assert answer.status_code == 503
    assert "cuda has no memory left for the model" in answer.json()["error"]
    assert "another process may use it" in backend.client.get("/status").text
    assert backend.client.get("/ready").status_code == 200


def test_several_workers_on_one_gpu_are_refused(start_backend, planted: str) -> None:
    with pytest.raises(RuntimeError) as stopped:
        start_backend(WORKERS="2", GUNICORN_CMD_ARGS=planted)
    assert "WORKERS is 2, and the engine runs on cuda: set WORKERS to 1" in str(stopped.value)
