"""The configuration of gunicorn. gunicorn finds this file by its name."""

import os
from typing import Any

from backend import log
from backend.metrics_folder import MetricsFolder
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

_metrics_folder = MetricsFolder(os.environ)  # noqa: TID251


def on_starting(server: Any) -> None:
    """Choose the checkpoint once, so that all workers serve the same checkpoint."""
    try:
        checkpoint = weights.obtain(_settings.checkpoint, _settings.model_dir)
    except (OSError, ValueError):
        return  # the first worker meets the same error, logs the cause and ends
    os.environ["MOBILESAM_CHECKPOINT"] = str(checkpoint.path)  # noqa: TID251


def post_fork(server: Any, worker: Any) -> None:
    """Take the space for the counts of a new worker."""
    _metrics_folder.reserve(os.getpid())


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a worker that has ended."""
    _metrics_folder.forget(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the folder of the counts."""
    _metrics_folder.remove()
