"""The configuration of gunicorn. gunicorn finds this file by its name."""

import os
import shutil
import tempfile
from typing import Any

from backend import log
from backend.settings import WAITING_CLICKS, Settings
from model import weights

try:
    _settings = Settings.from_env()
except ValueError as error:
    raise SystemExit(f"error: {error}") from None

log.configure(_settings.log_level)

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads + WAITING_CLICKS
worker_class = "backend.worker.WaitressWorker"
control_socket_disable = True
timeout = 100  # Label Studio waits this long for a prediction
graceful_timeout = 10
# Every worker loads the app itself: torch's thread pools do not survive a fork.
preload_app = False

# prometheus_client keeps the counts of each worker in files and adds them. This variable names the
# folder of the files.
_counts = tempfile.mkdtemp(prefix="mobilesam-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _counts  # noqa: TID251


def on_starting(server: Any) -> None:
    """Choose the checkpoint once, so that all workers serve the same checkpoint."""
    try:
        checkpoint = weights.obtain(_settings.checkpoint, _settings.model_dir)
    except (OSError, ValueError):
        return  # the first worker meets the same error, logs the cause and ends
    os.environ["MOBILESAM_CHECKPOINT"] = str(checkpoint.path)  # noqa: TID251


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a worker that has ended."""
    from prometheus_client.multiprocess import mark_process_dead  # reads the variable

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the folder of the counts."""
    shutil.rmtree(_counts, ignore_errors=True)
