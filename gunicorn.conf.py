"""How gunicorn serves the backend. gunicorn reads this file by its name."""

import logging
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
    """Get the published checkpoint, once and before any worker needs it."""
    logger = logging.getLogger("backend")
    if _settings.checkpoint is None:
        try:
            weights.download(_settings.model_dir)
        except (OSError, ValueError) as error:
            logger.warning(
                "the published MobileSAM weights cannot be had (%s): the small built-in checkpoint"
                " serves instead, good for trying out only. To use MobileSAM's own, put"
                " mobile_sam.pt into %s or set MOBILESAM_CHECKPOINT to its path.",
                error,
                _settings.model_dir,
            )


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker that has ended had waiting."""
    from prometheus_client.multiprocess import mark_process_dead  # reads the folder's name

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Leave nothing behind."""
    shutil.rmtree(_counts, ignore_errors=True)
