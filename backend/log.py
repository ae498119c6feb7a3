"""The log has one line for each event, as text or as JSON. The last problems are kept for /status.

A line names the cause and the remedy. It has no traceback, because an exception may hold an image
or a token. LOG_LEVEL=DEBUG shows tracebacks.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from backend import request_context
from model.files import write_atomically

Style = Literal["text", "json"]

_KEPT = 50
_LONGEST = 1000
_LOCK_WAIT_S = 1.0


def configure(level: str, style: Style) -> None:
    """Set up the log of this process.

    Args:
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
        style: ``text`` or ``json``.
    """
    handler = logging.StreamHandler()
    if style == "json":
        handler.setFormatter(JSONLine())
    elif level != "DEBUG":
        handler.setFormatter(OneLine())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)  # httpx logs the full URL of each request
    # label-studio-ml reads every labeling config too, and warns of each Image tag with a valueList.
    logging.getLogger("label_studio_tools").setLevel(logging.WARNING)


def gunicorn_config(level: str) -> dict[str, Any]:
    """gunicorn's ``logconfig_dict``: its own lines are JSON too."""
    stream = {"class": "logging.StreamHandler", "formatter": "json"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "backend.log.JSONLine"}},
        "handlers": {"stream": stream},
        "root": {"level": level, "handlers": ["stream"]},
        "loggers": {"gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True}},
    }


class OneLine(logging.Formatter):
    """Formats every record as a single line."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        when, who = self.formatTime(record), f"[{record.process}] {record.name}"
        request_id = request_context.fields().get("request_id")
        request = f" (request {request_id})" if request_id else ""
        return f"{when} {record.levelname} {who}: {sentence(record)}{request}"


class JSONLine(logging.Formatter):
    """Formats every record as a JSON object in a single line."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": when,
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": sentence(record),
            **request_context.fields(),
        }
        if record.exc_info and logging.getLogger().isEnabledFor(logging.DEBUG):
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def sentence(record: logging.LogRecord) -> str:
    """The message of a record without line breaks, and the class and place of its exception."""
    text = record.getMessage()
    if team := request_context.fields().get("team"):
        text = f"{team}: {text}"
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        frames = traceback.extract_tb(error.__traceback__)
        place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text += f": {type(error).__name__}{place} (LOG_LEVEL=DEBUG shows more)"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True)
class Problem:
    """A warning or an error of the log.

    Attributes:
        source: the name of the logger.
        last: the time of the last occurrence, seconds since the epoch.
        count: the number of occurrences.
    """

    level: str
    source: str
    sentence: str
    last: float
    count: int = 1


class Problems(logging.Handler):
    """Keeps the last warnings and errors of all workers in one small file.

    If the file cannot be written, the problems of this process are kept in memory.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.WARNING)
        self._path = path
        self._file_lock = FileLock(path.with_suffix(".lock"), timeout=_LOCK_WAIT_S)
        self._own: list[Problem] = []
        self._own_lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """See :meth:`logging.Handler.emit`."""
        text = sentence(record)[:_LONGEST]
        problem = Problem(record.levelname, record.name, text, time.time())
        with self._own_lock:
            self._own = _with(self._own, problem)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._file_lock:
                problems = _with(self._read() or [], problem)
                with write_atomically(self._path) as file:
                    file.write(json.dumps([asdict(p) for p in problems]).encode())
        except (OSError, Timeout, NotImplementedError):
            return  # the log has the line anyway

    def last(self) -> list[Problem]:
        """The last problems, newest first."""
        shared = self._read()
        with self._own_lock:
            return shared if shared is not None else self._own

    def _read(self) -> list[Problem] | None:
        try:
            return [Problem(**fields) for fields in json.loads(self._path.read_text())]
        except (OSError, ValueError, TypeError):
            return None


def keep_problems(problems: Problems, logger: logging.Logger) -> None:
    """Begin to keep the warnings and errors of a logger and of the loggers below it.

    A separate thread writes the file, so no click waits for the lock that the workers share.
    """
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(records)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Sentence())
    QueueListener(records, problems).start()
    logger.addHandler(handler)


class _Sentence(logging.Formatter):
    """Formats a record as its sentence, so that no exception object goes into the queue."""

    def format(self, record: logging.LogRecord) -> str:
        return sentence(record)


def _with(problems: list[Problem], problem: Problem) -> list[Problem]:
    """Newest first. A problem that occurs again raises its own count.

    When there are too many, the source with the most problems loses its oldest. So the problems of
    one source never displace those of others.
    """
    others = [p for p in problems if (p.level, p.sentence) != (problem.level, problem.sentence)]
    before = sum(p.count for p in problems) - sum(p.count for p in others)
    kept = [replace(problem, count=before + 1), *others]
    while len(kept) > _KEPT:
        ((loudest, _),) = Counter(p.source for p in kept).most_common(1)
        kept.remove(next(p for p in reversed(kept) if p.source == loudest))
    return kept
