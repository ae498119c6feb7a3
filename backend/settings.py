"""Every setting. Only this module reads the environment.

Where Label Studio's segment_anything_model example has a setting, the name is the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from backend.access import Access, AccessRules
from backend.http.addresses import AllowedHosts
from backend.log import Style
from backend.teams import read_teams
from backend.variables import Variables
from model.engines import EngineName, Precision
from model.weights import DEFAULT_MODEL_DIR, expanded

DEFAULT_CACHE_DIR = DEFAULT_MODEL_DIR / "embeddings"

# Clicks of each process that may wait for an image to be loaded and encoded. They get threads of
# their own beside THREADS, so waiting clicks never take a thread that other requests need.
WAITING_CLICKS = 64

# The settings that gunicorn's master has read for its workers.
_handed_down: Settings | None = None

# With several Label Studios, each has these settings in its table.
_OF_ONE_LABEL_STUDIO = (
    *("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
    *("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN", "LABEL_STUDIO_API_KEY_FILE"),
    *("LOCAL_FILES_DOCUMENT_ROOT", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"),
    "ALLOWED_HOSTS",
)

_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """The settings of a backend. README.md has a table row for each variable.

    Attributes:
        team: the name of the Label Studio that these settings are of, where there are several; ""
            where there is one.
        teams: the settings of each Label Studio by the name of its team; empty where there is one.
            Then the settings of Label Studio here are not used.
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
        learn_every: a project learns after so many new annotations. 0: only when somebody asks.
        redis_url: the Redis in which several hosts share embeddings and learnt decoders, or None.
        host, port: the address to listen on.
        workers, threads: the number of processes, and of simultaneous requests in each process.
            Most threads only wait for an image or for the model.
        log_level: DEBUG, INFO, WARNING or ERROR.
        log_format: text or json.
    """

    team: str = ""
    teams: Mapping[str, Settings] = field(default_factory=dict)
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
    learn_every: int = 0
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
        read = Variables(environ)
        checkpoint = read.path("MOBILESAM_CHECKPOINT")
        common = cls(
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
            learn_every=read.number("LEARN_EVERY", cls.learn_every, 0, 1_000_000),
            redis_url=read.url("REDIS_URL", schemes=("redis", "rediss", "unix")),
            host=read.text("HOST") or cls.host,
            port=read.number("PORT", cls.port, 1, 65535),
            workers=read.number("WORKERS", cls.workers, 1, 256),
            threads=read.number("THREADS", cls.threads, 1, 256),
            log_level=read.choice("LOG_LEVEL", _LOG_LEVELS, cls.log_level),
            log_format=read.choice("LOG_FORMAT", get_args(Style), cls.log_format),
        )
        return common._with_teams(read)

    @property
    def access(self) -> AccessRules:
        """Who may call which path."""
        teams = {name: Access(settings.basic_auth) for name, settings in self.teams.items()}
        return AccessRules(Access(self.basic_auth), teams)

    def of_team(self, name: str | None) -> Settings:
        """The settings of one Label Studio.

        Args:
            name: the name of its team, or None where there is one Label Studio.

        Raises:
            ValueError: there is no such team, or the name is missing.
        """
        if name in self.teams or name is None and not self.teams:
            return self.teams[name] if name is not None else self
        if not self.teams:
            raise ValueError(f"there is no team {name}: LABEL_STUDIOS is not set")
        teams = ", ".join(self.teams)
        wrong = "a team is needed" if name is None else f"there is no team {name}"
        raise ValueError(f"{wrong}: LABEL_STUDIOS has {teams}. Choose with --team")

    def _with_teams(self, read: Variables) -> Settings:
        """These settings with those of the file of LABEL_STUDIOS, if there is such a file."""
        path = read.path("LABEL_STUDIOS")
        if path is None:
            return self
        for name in _OF_ONE_LABEL_STUDIO:
            if read.text(name):
                raise ValueError(
                    f"{name} and LABEL_STUDIOS are both set: put {name} into the table of a team in"
                    f" {path}"
                )
        teams = {
            name: replace(self, team=name, **vars(team)) for name, team in read_teams(path).items()
        }
        return replace(self, teams=teams)
