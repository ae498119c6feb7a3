"""How gunicorn serves the backend. gunicorn reads this file by its name."""

import os
import shutil
import tempfile
from typing import Any

from backend import log
from backend.settings import Settings
from model import weights

try:
    _settings = Settings.from_env()
except ValueError as error:
    raise SystemExit(f"error: {error}") from None

log.configure(_settings.log_level)

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads
worker_class = "gthread"
control_socket_disable = True
timeout = 100  # Label Studio waits no longer than this for a prediction
graceful_timeout = 10
# Not preloaded: torch's thread pools do not survive a fork.
preload_app = False

# prometheus_client adds up the workers' counts through files in the folder this variable names.
_counts = tempfile.mkdtemp(prefix="mobilesam-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _counts  # noqa: TID251


def on_starting(server: Any) -> None:
    """Choose the checkpoint once for all workers, so that all of them serve the same one."""
    try:
        checkpoint = weights.obtain(_settings.checkpoint, _settings.model_dir)
    except (OSError, ValueError):
        return  # the first worker ends with the same error, and its log line names the cause
    os.environ["MOBILESAM_CHECKPOINT"] = str(checkpoint.path)  # noqa: TID251


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker that has ended had waiting."""
    from prometheus_client.multiprocess import mark_process_dead  # reads the folder's name

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Leave nothing behind."""
    shutil.rmtree(_counts, ignore_errors=True)
