"""What gunicorn's master process does at the start and before each reload.

The workers are forked from the master and take its settings. So all workers have the same settings
and the same checkpoint, and a new worker never reads a file that somebody edits meanwhile.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gunicorn import systemd

from backend.handover import handover
from backend.http import certificates
from backend.settings import Settings
from model import weights
from model.checkpoint import read_parameters

logger = logging.getLogger(__name__)


def busy_port(server: Any) -> str | None:
    """A sentence about a port that another program listens on; None if the ports are free.

    Args:
        server: gunicorn's arbiter, before it listens. Where systemd or another master gives it
            open sockets, no port is looked at.
    """
    if server.master_pid or systemd.listen_fds(unset_environment=False):
        return None
    for address in server.cfg.address:
        if not isinstance(address, tuple):
            continue
        host, port = address
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:  # gunicorn names the others
                    return f"port {port} of {host} is in use: end the other program, or set PORT"
    return None


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
