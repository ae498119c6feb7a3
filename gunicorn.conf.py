"""The configuration of gunicorn. gunicorn finds this file by its name."""

import os
from typing import Any

from backend import log, master
from backend.handover import handover
from backend.metrics_folder import MetricsFolder
from backend.settings import WAITING_CLICKS, Settings

try:
    _settings = Settings.of_process()
except ValueError as error:
    raise SystemExit(f"error: {error}") from None

log.configure(_settings.log_level, _settings.log_format)
if _settings.log_format == "json":
    logconfig_dict = log.gunicorn_config(_settings.log_level)

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads + WAITING_CLICKS * max(1, len(_settings.teams))
worker_class = "backend.worker.WaitressWorker"
control_socket_disable = True
timeout = 100  # Label Studio waits this long for a prediction
graceful_timeout = 10  # as long as `docker stop` waits
# Every worker loads the app itself: torch's thread pools do not survive a fork.
preload_app = False

_metrics_folder = MetricsFolder(os.environ)  # noqa: TID251


def on_starting(server: Any) -> None:
    """Refuse a port that is in use, choose the checkpoint, and prepare for reloads."""
    if sentence := master.busy_port(server):
        _metrics_folder.remove()
        raise SystemExit(f"error: {sentence}")
    master.choose_checkpoint(_settings)
    master.prepare(server)


def pre_fork(server: Any, worker: Any) -> None:
    """Note that a worker begins to load."""
    handover().loads(worker.age)


def post_fork(server: Any, worker: Any) -> None:
    """Take the space for the counts of a new worker."""
    _metrics_folder.reserve(os.getpid())


def post_worker_init(worker: Any) -> None:
    """Note that a worker serves now."""
    handover().ends_loading(worker.age)


def worker_exit(server: Any, worker: Any) -> None:
    """Note that a worker does not load any more, where it has failed to."""
    handover().ends_loading(worker.age)


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a worker that has ended."""
    handover().ends_loading(worker.age)
    _metrics_folder.forget(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the folder of the counts."""
    _metrics_folder.remove()
