"""Every setting. Only this module reads the environment.

Where Label Studio's segment_anything_model example has a setting, the name is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, get_args
from urllib.parse import urlsplit

from backend.http.addresses import AllowedHosts
from backend.log import Style
from model.engines import EngineName, Precision
from model.weights import DEFAULT_MODEL_DIR, expanded

DEFAULT_CACHE_DIR = DEFAULT_MODEL_DIR / "embeddings"

# Clicks of each process that may wait for an image to be loaded and encoded. They get threads of
# their own beside THREADS, so waiting clicks never take a thread that other requests need.
WAITING_CLICKS = 64

T = TypeVar("T", bound=str)
N = TypeVar("N", int, float)

# The settings that gunicorn's master has read for its workers.
_handed_down: Settings | None = None

_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """The settings of a backend. README.md has a table row for each variable.

    Attributes:
        label_studio_url: the URL of Label Studio as seen from here, without a slash at the end.
        label_studio_api_key: a personal access token or a legacy token.
        label_studio_api_key_file: a file with such a token, used where the token is not set. The
            file may come later.
        label_studio_user: the (email, password) of the user who signs in where there is no token.
            Only the command ``connect`` signs in.
        local_files_document_root: the folder that Label Studio serves as local files, at its path
            on this machine, or None.
        allowed_hosts: hosts and networks beside the public internet that images may come from.
        certificate_authorities: PEM files, and folders of PEM files, of certificate authorities to
            trust beside the public authorities and those of the system.
        basic_auth: the (user, password) that Label Studio must send, or None.
        checkpoint: the checkpoint file to use. None: the published or the built-in checkpoint.
        model_dir: the folder for the downloaded checkpoint.
        engine, precision: as ``model.load_predictor`` takes them.
        cache_memory_mb: the memory for embeddings in each worker, MiB.
        cache_dir: the folder of embeddings, shared by all workers and kept after a restart.
        cache_disk_gb: the largest size of the folder, GiB. 0: no embeddings on disk.
        learnt_decoders: how many learnt decoders of projects each worker keeps loaded.
        redis_url: the Redis in which several hosts share embeddings and learnt decoders, or None.
        host, port: the address to listen on.
        workers, threads: the number of processes, and of simultaneous requests in each process.
            Most threads only wait for an image or for the model.
        log_level: DEBUG, INFO, WARNING or ERROR.
        log_format: text or json.
    """

    label_studio_url: str | None = None
    label_studio_api_key: str | None = None
    label_studio_api_key_file: Path | None = None
    label_studio_user: tuple[str, str] | None = None
    local_files_document_root: Path | None = None
    allowed_hosts: AllowedHosts = AllowedHosts()
    certificate_authorities: tuple[Path, ...] = ()
    basic_auth: tuple[str, str] | None = None
    checkpoint: Path | None = None
    model_dir: Path = field(default_factory=lambda: expanded(DEFAULT_MODEL_DIR))
    engine: EngineName = "auto"
    precision: Precision = "auto"
    cache_memory_mb: int = 512
    cache_dir: Path = field(default_factory=lambda: expanded(DEFAULT_CACHE_DIR))
    cache_disk_gb: float = 10
    learnt_decoders: int = 4
    redis_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 9090
    workers: int = 1
    threads: int = 32
    log_level: str = "INFO"
    log_format: Style = "text"

    @classmethod
    def of_process(cls) -> Settings:
        """The settings of this process: those that were handed down, or the environment's.

        Raises:
            ValueError: see :meth:`from_env`.
        """
        return _handed_down or cls.from_env()

    def hand_down(self) -> None:
        """Make these the settings of this process and of all processes that are forked from it."""
        global _handed_down
        _handed_down = self

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:  # noqa: TID251
        """Read the settings.

        An empty variable counts as not set, because compose files pass empty variables.

        Raises:
            ValueError: the value of a variable cannot be used. The message names the variable.
        """
        read = _Reader(environ)
        checkpoint = read.path("MOBILESAM_CHECKPOINT")
        return cls(
            label_studio_url=read.url("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
            label_studio_api_key=read.text("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"),
            label_studio_api_key_file=read.path("LABEL_STUDIO_API_KEY_FILE"),
            label_studio_user=read.pair("LABEL_STUDIO_USERNAME", "LABEL_STUDIO_PASSWORD"),
            local_files_document_root=read.folder(
                "LOCAL_FILES_DOCUMENT_ROOT", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"
            ),
            allowed_hosts=read.allowed_hosts("ALLOWED_HOSTS"),
            certificate_authorities=read.paths(
                "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"
            ),
            basic_auth=read.pair("BASIC_AUTH_USER", "BASIC_AUTH_PASS"),
            checkpoint=checkpoint.resolve() if checkpoint else None,
            model_dir=read.path("MODEL_DIR") or read.home("MODEL_DIR", DEFAULT_MODEL_DIR),
            engine=read.choice("ENGINE", get_args(EngineName), cls.engine),
            precision=read.choice("PRECISION", get_args(Precision), cls.precision),
            cache_memory_mb=read.number("CACHE_MEMORY_MB", cls.cache_memory_mb, 1, 1 << 20),
            cache_dir=read.path("CACHE_DIR") or read.home("CACHE_DIR", DEFAULT_CACHE_DIR),
            cache_disk_gb=read.decimal("CACHE_DISK_GB", cls.cache_disk_gb, 0, 1 << 20),
            learnt_decoders=read.number("LEARNT_DECODERS", cls.learnt_decoders, 1, 100),
            redis_url=read.url("REDIS_URL", schemes=("redis", "rediss", "unix")),
            host=read.text("HOST") or cls.host,
            port=read.number("PORT", cls.port, 1, 65535),
            workers=read.number("WORKERS", cls.workers, 1, 256),
            threads=read.number("THREADS", cls.threads, 1, 256),
            log_level=read.choice("LOG_LEVEL", _LOG_LEVELS, cls.log_level),
            log_format=read.choice("LOG_FORMAT", get_args(Style), cls.log_format),
        )


class _Reader:
    """Reads variables as values of a type. Errors name the variable and its value."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, *names: str) -> str | None:
        """The value of the first name that is set."""
        values = (self._environ.get(name, "").strip() for name in names)
        return next((value for value in values if value), None)

    def url(self, *names: str, schemes: tuple[str, ...] = ("http", "https")) -> str | None:
        value = self.text(*names)
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.hostname or parts.path):
            beginnings = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"{names[0]} is {value!r}; it must begin with {beginnings}")
        return value.rstrip("/")

    def path(self, *names: str) -> Path | None:
        value = self.text(*names)
        try:
            return None if value is None else expanded(Path(value))
        except ValueError as error:
            raise ValueError(f"{names[0]}: {error}") from error

    def home(self, name: str, default: Path) -> Path:
        """A folder below the home folder, for a variable that is not set."""
        try:
            return expanded(default)
        except ValueError as error:
            raise ValueError(
                f"{name} is not set, and this user has no home folder: set {name} to a folder that"
                " the backend can write to"
            ) from error

    def folder(self, *names: str) -> Path | None:
        path = self.path(*names)
        if path is not None and not path.is_dir():
            raise ValueError(f"{names[0]} is {str(path)!r}, but that folder does not exist here")
        return path

    def paths(self, *names: str) -> tuple[Path, ...]:
        """The files and folders of all names. One variable may hold several, as PATH does."""
        found = []
        for name in names:
            for value in (self.text(name) or "").split(os.pathsep):
                path = expanded(Path(value))
                if value and not path.exists():
                    raise ValueError(f"{name} is {value!r}, and there is no such file or folder")
                found += [path] if value else []
        return tuple(dict.fromkeys(found))

    def allowed_hosts(self, name: str) -> AllowedHosts:
        value = self.text(name)
        try:
            return AllowedHosts.parse(value) if value else AllowedHosts()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def pair(self, first: str, second: str) -> tuple[str, str] | None:
        values = self.text(first), self.text(second)
        if values[0] is None or values[1] is None:
            if values != (None, None):
                raise ValueError(f"{first} and {second} must be set together")
            return None
        return values[0], values[1]

    def choice(self, name: str, choices: tuple[T, ...], default: T) -> T:
        value = self.text(name)
        if value is None:
            return default
        for choice in choices:
            if value.lower() == choice.lower():
                return choice
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")

    def number(self, name: str, default: int, low: int, high: int) -> int:
        return self._parse(name, default, low, high, int, "whole number")

    def decimal(self, name: str, default: float, low: float, high: float) -> float:
        return self._parse(name, default, low, high, float, "number")

    def _parse(
        self, name: str, default: N, low: N, high: N, parse: Callable[[str], N], kind: str
    ) -> N:
        value = self.text(name)
        if value is None:
            return default
        try:
            number = parse(value)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:  # also refuses NaN
            raise ValueError(f"{name} is {value!r}; it must be a {kind}, {low} to {high}")
        return number
