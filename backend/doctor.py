"""Finds the reason why clicks get no mask. Checks everything from the weights to a click."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any

import redis

from backend.images.errors import ImageError
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.label_studio.refusals import ALLOW_PRIVATE_ADDRESSES
from backend.regions import config_check
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.exports import OWN_EXPORT, exports
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service
from backend.settings import Settings
from backend.watchdog import EngineHungError
from model import weights
from model.types import Prompt

_REDIS_TIMEOUT_S = 3.0
_CONNECT = "project Settings > Model > Connect Model"


class Verdict(Enum):
    """The result of a check. Only FAILURE makes the exit status 1."""

    OK = "ok"
    WARNING = "warn"
    FAILURE = "FAIL"
    SKIPPED = "skip"


class _Bad(Exception):
    """A check has failed. The message names the remedy."""


class _Doubtful(Exception):
    """A check has found something that works, but not well."""


class _Skip(Exception):
    """A check is not possible, because of an earlier check or of the settings."""


class Doctor:
    """Runs the checks in order. A check is skipped if it needs an earlier check that failed.

    Args:
        settings: the settings of the backend.
        project_id: the project to check, or None to check no project.
        report: called after each check with its name, verdict and sentence.
    """

    def __init__(
        self,
        settings: Settings,
        project_id: int | None,
        report: Callable[[str, Verdict, str], None],
    ) -> None:
        self._settings = settings
        self._project_id = project_id
        self._report = report
        self._has_weights = False
        self._service: Service | None = None
        self._label_studio: LabelStudio | None = None
        self._is_signed_in = False
        self._project: dict[str, Any] | None = None
        self._backend: dict[str, Any] | None = None

    def run(self) -> bool:
        """Run every check. Returns True if no check has failed."""
        checks: list[tuple[str, Callable[[], str]]] = [
            ("weights", self._weights),
            ("engine", self._engine),
            ("cache folder", self._cache_folder),
            ("redis", self._redis),
            ("label studio", self._reach_label_studio),
            ("token", self._token),
            ("project", self._find_project),
            ("registered", self._registered),
            ("reached from label studio", self._reached),
            ("interactive", self._interactive),
            ("webhook", self._webhook),
            ("labeling config", self._labeling_config),
            ("exports", self._exports),
            ("one task", self._one_task),
        ]
        verdicts = [self._check(name, check) for name, check in checks]
        return Verdict.FAILURE not in verdicts

    def _check(self, name: str, check: Callable[[], str]) -> Verdict:
        try:
            verdict, sentence = Verdict.OK, check()
        except _Skip as skip:
            verdict, sentence = Verdict.SKIPPED, str(skip)
        except _Doubtful as doubt:
            verdict, sentence = Verdict.WARNING, str(doubt)
        except (
            _Bad,
            ImageError,
            LabelStudioError,
            MalformedRequestError,
            UnanswerableRequestError,
            EngineHungError,
            OSError,
            ValueError,
            redis.RedisError,
        ) as error:
            verdict, sentence = Verdict.FAILURE, str(error)
        self._report(name, verdict, " ".join(sentence.split()))
        return verdict

    def _weights(self) -> str:
        checkpoint = weights.obtain(self._settings.checkpoint, self._settings.model_dir)
        # Without it, the engine would try the download again.
        self._settings = replace(self._settings, checkpoint=checkpoint.path)
        self._has_weights = True
        if checkpoint.is_builtin:
            remedy = weights.builtin_remedy(self._settings.model_dir)
            raise _Doubtful(f"{checkpoint.model_version}, {remedy}")
        return checkpoint.model_version

    def _engine(self) -> str:
        if not self._has_weights:
            raise _Skip("see weights")
        self._service = Service.start(self._settings)
        encode_s, click_s = self._service.segmenter.measure()
        return (
            f"{self._service.segmenter.engine}: an image takes {1000 * encode_s:.0f} ms, a click"
            f" {1000 * click_s:.0f} ms"
        )

    def _cache_folder(self) -> str:
        folder, gigabytes = self._settings.cache_dir, self._settings.cache_disk_gb
        if not gigabytes:
            raise _Doubtful(
                "off: after a restart every image is encoded again. Set CACHE_DISK_GB above 0"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                free = shutil.disk_usage(folder).free
        except OSError as error:
            raise _Bad(
                f"{folder} cannot be written to ({error.strerror}): set CACHE_DIR to a folder that"
                " the backend's user can write to"
            ) from error
        if free < gigabytes * 2**30:
            raise _Doubtful(
                f"{folder} has {free / 2**30:.1f} GiB of free space, but CACHE_DISK_GB is"
                f" {gigabytes:g}: make space, or set CACHE_DISK_GB lower"
            )
        return f"{folder}, up to {gigabytes:g} GiB"

    def _redis(self) -> str:
        if self._settings.redis_url is None:
            raise _Skip("REDIS_URL is not set. Only several hosts need Redis")
        client = redis.Redis.from_url(
            self._settings.redis_url,
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
        )
        try:
            client.ping()
            policy = _eviction_policy(client)
        except redis.RedisError as error:
            raise _Bad(
                f"Redis does not answer at REDIS_URL ({error}): start it, or correct the address"
            ) from error
        finally:
            client.close()
        if policy == "noeviction":
            raise _Doubtful(
                "Redis answers, but a full Redis will refuse new embeddings: set its maxmemory,"
                " and its maxmemory-policy to volatile-lru"
            )
        return "Redis answers"

    def _reach_label_studio(self) -> str:
        label_studio = self._started().label_studio
        url = label_studio.url
        version = label_studio.version()
        self._label_studio = label_studio
        return f"{version} at {url}"

    def _token(self) -> str:
        user = self._connected().whoami()
        self._is_signed_in = True
        credential = self._connected().working_credential
        return f"{credential} is accepted, as {user.get('email') or user.get('username')}"

    def _find_project(self) -> str:
        if self._project_id is None:
            raise _Skip("add --project ID to check a project")
        self._project = self._signed_in().project(self._project_id)
        return f'{self._project_id}, "{self._project.get("title", "")}"'

    def _registered(self) -> str:
        project_id = self._found_project()["id"]
        backends = self._signed_in().backends(project_id)
        if not backends:
            raise _Bad(f"the project has no ML backend: add the URL of this backend in {_CONNECT}")
        self._backend = max(backends, key=lambda b: (bool(b.get("is_interactive")), b.get("id", 0)))
        team = self._settings.team
        if team and not str(self._backend.get("url")).rstrip("/").endswith(f"/{team}"):
            raise _Bad(
                f"the URL {self._backend.get('url')} must end in /{team}, the path of this Label"
                f" Studio: correct the URL in {_CONNECT}"
            )
        return f"{self._backend.get('url')}"

    def _reached(self) -> str:
        backend = self._registered_backend()
        if backend.get("state") == "CO":
            return f"Label Studio reaches {backend.get('url')}"
        reason = str(backend.get("error_message") or "").strip().splitlines()
        raise _Bad(
            f"Label Studio does not reach {backend.get('url')}: start the backend there, or"
            " correct the URL. In a container, localhost is the container itself. For a private"
            f" address {ALLOW_PRIVATE_ADDRESSES}."
            + (f" Label Studio says: {reason[-1][:200]}" if reason else "")
        )

    def _interactive(self) -> str:
        if not self._registered_backend().get("is_interactive"):
            raise _Bad(
                "Label Studio sends no clicks: in project Settings > Model, choose Edit at the"
                " backend and switch Interactive preannotations on"
            )
        return "Label Studio sends clicks"

    def _webhook(self) -> str:
        wanted = f"{str(self._registered_backend().get('url')).rstrip('/')}/webhook"
        webhooks = self._connected().webhooks(self._found_project()["id"])
        for webhook in webhooks:
            if webhook.get("url") == wanted and webhook.get("is_active"):
                return "Label Studio reports what annotators do, so the next images are embedded"
        raise _Doubtful(
            f"no active webhook to {wanted}, so the next images are not embedded before they are"
            " opened: add the webhook in project Settings > Webhooks, for all actions. Label Studio"
            " takes webhooks only to localhost, addresses, and host names with a dot"
        )

    def _labeling_config(self) -> str:
        xml = self._found_project()["label_config"]
        found = config_check.faults(xml)
        if found:
            raise _Bad("; ".join(found))
        config = LabelingConfig.parse(xml)
        sentence = f"smart tags on {', '.join(config.image_variables)}"
        wanted = config.preannotation()
        if wanted is not None:
            made_from = "everything" if wanted.everything else "boxes"
            sentence += f"; tasks get masks of {made_from} before anybody clicks"
        return sentence

    def _exports(self) -> str:
        found = exports(LabelingConfig.parse(self._found_project()["label_config"]))
        formats = ", ".join(found.formats) or "JSON and tables only"
        remedy = [OWN_EXPORT] if found.obstacles else []
        sentence = "; ".join([formats, *found.obstacles, *remedy])
        if not found.formats:
            raise _Doubtful(sentence)
        return sentence

    def _one_task(self) -> str:
        project = self._found_project()
        service = self._started()
        tasks = self._connected().tasks_after(project["id"], 0, 1)
        if not tasks:
            raise _Skip("the project has no tasks yet")
        task = tasks[0]
        config = LabelingConfig.parse(project["label_config"])
        if not config.image_variables:
            raise _Skip("the labeling config has no image")
        ref = next(config.image_refs(task))
        begun = time.perf_counter()
        service.images.load(ref)
        fetched = time.perf_counter()
        embedding = service.segmenter.embed(ref)
        embedded = time.perf_counter()
        height, width = embedding.original_size
        middle = Prompt.from_points([(width / 2, height / 2)])
        service.segmenter.segment(ref, embedding, [middle])
        clicked = time.perf_counter()
        return (
            f"{ref}, {width} x {height}: fetched in {1000 * (fetched - begun):.0f} ms,"
            f" embedded in {1000 * (embedded - fetched):.0f} ms, clicked in"
            f" {1000 * (clicked - embedded):.0f} ms"
        )

    # A check that needs another check names the first that gave no result, and claims nothing.

    def _started(self) -> Service:
        if self._service is None:
            raise _Skip("see engine")
        return self._service

    def _connected(self) -> LabelStudio:
        self._started()
        if self._label_studio is None:
            raise _Skip("see label studio")
        return self._label_studio

    def _signed_in(self) -> LabelStudio:
        label_studio = self._connected()
        if not self._is_signed_in:
            raise _Skip("see token")
        return label_studio

    def _found_project(self) -> dict[str, Any]:
        if self._project_id is None:
            raise _Skip("--project was not given")
        self._signed_in()
        if self._project is None:
            raise _Skip("see project")
        return self._project

    def _registered_backend(self) -> dict[str, Any]:
        self._found_project()
        if self._backend is None:
            raise _Skip("see registered")
        return self._backend


def _eviction_policy(client: redis.Redis) -> str | None:
    """What a full Redis does. None if Redis does not tell, which is common with hosted Redis."""
    try:
        return str(client.config_get("maxmemory-policy").get("maxmemory-policy"))
    except redis.ResponseError:
        return None
