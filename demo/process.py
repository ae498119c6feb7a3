"""A server as a child process: used when it answers, and gone with all its children at the end."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

_POLL_S = 0.1
_GRACE_S = 15.0
_PORTS = range(10_000, 32_000)


class ServerProcess:
    """A server that runs until :meth:`stop`. A subclass says when it is ready.

    Args:
        command: what to run, in a process group of its own.
        log_path: where its output goes.
        environment: on top of this process's.
        cwd: where to run it.
        timeout_s: how long it may take until it is ready.
        pass_fds: open files that the server gets.

    Raises:
        RuntimeError: the server ended or did not answer in time; with the end of its log.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log_path: Path,
        environment: Mapping[str, str],
        cwd: Path,
        timeout_s: float,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **environment},  # noqa: TID251
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        try:
            self._wait(timeout_s)
        except BaseException:
            self.stop()
            raise

    def is_ready(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        """The text that the server has printed so far."""
        return self.log_path.read_text(errors="replace")

    def stop(self) -> None:
        """End the server and all its children: first with SIGTERM, then with SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"{self.process.args!r} ended with status {self.process.returncode}:\n"
                    f"{self.log[-3000:]}"
                )
            if self.is_ready():
                return
            time.sleep(_POLL_S)
        raise RuntimeError(
            f"{self.process.args!r} did not answer within {timeout_s:.0f} s:\n{self.log[-3000:]}"
        )


class WebServerProcess(ServerProcess):
    """A server that is ready when its ``/health`` answers 200.

    Attributes:
        url: the address of the server, set before the process starts.
    """

    url: str

    def is_ready(self) -> bool:
        """Whether ``/health`` answers 200."""
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def free_port(preferred: int | None = None) -> int:
    """A port of 127.0.0.1 that nobody listens on: the preferred port, if it is free.

    Other ports lie below those that the system gives to outgoing connections, so that none of them
    takes the port before the server does.
    """
    ports = random.SystemRandom().sample(_PORTS, 100)
    for port in ports if preferred is None else [preferred, *ports]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
