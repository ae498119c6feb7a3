"""What gunicorn's master process does at the start and before each reload.

The workers are forked from the master and take its settings. So all workers have the same settings
and the same checkpoint, and a new worker never reads a file that somebody edits meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.handover import handover
from backend.http import certificates
from backend.settings import Settings
from model import weights
from model.checkpoint import read_parameters

logger = logging.getLogger(__name__)


def choose_checkpoint(settings: Settings) -> None:
    """Choose the checkpoint of all workers at the start."""
    try:
        checkpoint = weights.obtain(settings.checkpoint, settings.model_dir)
    except (OSError, ValueError):
        return  # the first worker meets the same error, logs the cause and ends
    replace(settings, checkpoint=checkpoint.path).hand_down()


def prepare(server: Any) -> None:
    """Let gunicorn check the settings before each reload, and tell the workers of a stop.

    A file that cannot be used must not end workers that serve.

    Args:
        server: gunicorn's arbiter. It calls a method ``handle_...`` for each signal.
    """
    server.handle_hup = _checked(server.handle_hup)
    for name in ("handle_term", "handle_int", "handle_quit"):
        setattr(server, name, _told(getattr(server, name)))


def _checked(reload_workers: Callable[[], None]) -> Callable[[], None]:
    def handle() -> None:
        try:
            settings = Settings.from_env()
            checkpoint = weights.obtain(settings.checkpoint, settings.model_dir)
            read_parameters(checkpoint.path)
            certificates.trust(settings.certificate_authorities)
        except (OSError, ValueError) as error:
            logger.critical("nothing is reloaded, the workers go on as before: %s", error)
            return
        replace(settings, checkpoint=checkpoint.path).hand_down()
        reload_workers()

    return handle


def _told(stop_workers: Callable[[], None]) -> Callable[[], None]:
    def handle() -> None:
        handover().stops()
        stop_workers()

    return handle
