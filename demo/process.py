"""A server as a child process that is ready when it answers and leaves nothing when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

_POLL_S = 0.1
_GRACE_S = 15.0


class ServerProcess:
    """A server that runs until :meth:`stop`.

    Args:
        command: what to run, in a process group of its own.
        url: answers 200 when the server is ready.
        log_path: where its output goes.
        environment: on top of this process's.
        cwd: where to run it.

    Raises:
        RuntimeError: it ended, or did not answer in time; with the end of its log.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        url: str,
        log_path: Path,
        environment: Mapping[str, str],
        cwd: Path,
        timeout_s: float,
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
            )
        try:
            self._wait(url, timeout_s)
        except BaseException:
            self.stop()
            raise

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def stop(self) -> None:
        """End it and all that it started: first asked, then killed."""
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

    def _wait(self, url: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"{self.process.args!r} ended with status {self.process.returncode}:\n"
                    f"{self.log[-3000:]}"
                )
            try:
                if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(_POLL_S)
        raise RuntimeError(
            f"{self.process.args!r} did not answer within {timeout_s:.0f} s:\n{self.log[-3000:]}"
        )


def free_port(preferred: int = 0) -> int:
    """A port of 127.0.0.1 that nobody listens on: the preferred one, if it is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise RuntimeError("no port is free")
