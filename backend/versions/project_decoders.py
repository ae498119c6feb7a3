"""The decoders that answer in this process: the base, and what projects have learnt."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

import cachetools

from backend import request_context
from backend.versions.activation import Version
from backend.versions.errors import VersionError
from backend.versions.store import DecoderVersions
from model.predictor import Predictor

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_LOAD_AGAIN_AFTER_S = 30.0  # a file that another host has written may appear here later
_WATCHED = 200  # projects; those that were asked for least recently are forgotten
_WAIT_S = 10.0  # a click waits this long for the decoder of its project, once after a start


def model_version(base: str, project_id: int, number: Version) -> str:
    """The name of a version of a project, as Label Studio shows it.

    Args:
        base: the name of the checkpoint.
        project_id: the project.
        number: the version; None is the base.
    """
    return base if number is None else f"{base} v{number} of project {project_id}"


@dataclass(frozen=True)
class ServedDecoder:
    """A decoder that answers.

    Attributes:
        predictor: answers with the decoder.
        number: the version; None is the base.
        model_version: what Label Studio shows, such as ``mobile-sam v3 of project 1``.
    """

    predictor: Predictor
    number: Version
    model_version: str

    @property
    def version(self) -> str:
        """The version in /metrics: ``v3``, or ``base``."""
        return "base" if self.number is None else f"v{self.number}"


@dataclass
class _Project:
    """What this process knows of a project.

    Attributes:
        served: the decoder that answers; None while nobody knows or none is loaded.
        refused: the version that could not be loaded last.
        tried: when that was, on the monotonic clock.
        complaint: why it could not be loaded.
        is_known: set when ``served`` is right.
    """

    served: ServedDecoder | None = None
    refused: Version = None
    tried: float = 0.0
    complaint: str | None = None
    is_known: threading.Event = field(default_factory=threading.Event)


class ProjectDecoders:
    """Gives each project its active decoder. Threads may share the decoders.

    One thread looks every second which versions are active, and loads them. A click never waits
    for that, except for the first click of a project after a start.

    Args:
        base: the checkpoint as it is. Learnt decoders share its image encoder.
        versions: which decoders there are, and which are active.
        most: how many learnt decoders are loaded at the same time.
        team: whose projects these are, for the log.
    """

    def __init__(
        self, base: Predictor, versions: DecoderVersions, most: int, team: str = ""
    ) -> None:
        self._team = team
        self._base = ServedDecoder(base, None, base.checkpoint.model_version)
        self._versions = versions
        self._projects: cachetools.LRUCache[int, _Project] = cachetools.LRUCache(_WATCHED)
        self._loaded: cachetools.LRUCache[int, ServedDecoder] = cachetools.LRUCache(most)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look. The active versions of projects in the folder are loaded first."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="versions", daemon=True)
                self._thread.start()

    def of(self, project_id: int | None, wait_s: float = _WAIT_S) -> ServedDecoder:
        """The decoder that answers for a project.

        Args:
            project_id: the project, or None where that is unknown: the base answers.
            wait_s: the longest wait where this process does not know the project yet, seconds. The
                base answers after that.
        """
        if project_id is None:
            return self._base
        with self._lock:
            project = self._project(project_id)
            if project.served is not None:
                self._loaded.get(project_id)  # it is the most recently used one now
                return project.served
        self.start()
        self._wake.set()
        if not project.is_known.wait(wait_s):
            logger.warning(
                "project %d is answered by the base model: its own decoder was not found and loaded"
                " within %.0f s",
                project_id,
                wait_s,
            )
        return project.served or self._base

    def model_versions(self) -> list[str]:
        """The model versions that may answer: the base and the active version of each project."""
        active = {project: self._versions.active(project) for project in self._versions.projects()}
        learnt = (self._name(project, n) for project, n in active.items() if n is not None)
        return [self._base.model_version, *learnt]

    def overview(self) -> list[str]:
        """A line for each project that has versions: which of them is active, and what is wrong."""
        lines = []
        for project_id in self._versions.projects():
            with self._lock:
                project = self._projects.get(project_id)
            number = self._versions.active(project_id)
            known = ", ".join(f"v{version}" for version in self._versions.versions(project_id))
            active = "the base" if number is None else f"v{number}"
            complaint = f". {project.complaint}" if project and project.complaint else ""
            lines.append(f"project {project_id}: {active} (of {known}){complaint}")
        return lines

    def _project(self, project_id: int) -> _Project:
        project = self._projects.get(project_id)
        if project is None:
            # Many other projects may have pushed this project out. Its decoder answers at once.
            project = self._projects[project_id] = _Project(self._loaded.get(project_id))
            if project.served is not None:
                project.is_known.set()
        return project

    def _work(self) -> None:
        request_context.note(team=self._team or None)
        self._warm_up()
        while True:
            self._wake.wait(_LOOK_EVERY_S)
            self._wake.clear()
            with self._lock:
                watched = dict(self._projects)
            # First those that a click waits for.
            for project_id, project in sorted(watched.items(), key=_is_known):
                try:
                    self._look(project_id, project)
                except Exception:  # the thread must go on after an unforeseen error
                    logger.exception("the learnt decoder of project %d was not found", project_id)
                    self._serve(project_id, project, project.served or self._base)

    def _warm_up(self) -> None:
        """Watch the projects of the folder that have an active version."""
        for project_id in self._versions.projects():
            with self._lock:
                is_full = len(self._projects) >= self._loaded.maxsize
            if is_full:
                return
            if self._versions.active(project_id) is not None:
                with self._lock:
                    self._project(project_id)

    def _look(self, project_id: int, project: _Project) -> None:
        number = self._versions.active(project_id)
        if number is None:
            project.complaint = project.refused = None
            self._serve(project_id, project, self._base)
        elif project.served is None or number != project.served.number:
            is_refused = number == project.refused
            if not is_refused or time.monotonic() - project.tried > _LOAD_AGAIN_AFTER_S:
                self._load(project_id, project, number)

    def _load(self, project_id: int, project: _Project, number: int) -> None:
        project.tried = time.monotonic()
        try:
            served = self._loaded_version(project_id, number)
        except VersionError as error:
            if number != project.refused:
                logger.error("%s", error)
            project.refused, project.complaint = number, str(error)
            self._serve(project_id, project, project.served or self._base)
            return
        project.complaint = project.refused = None
        self._serve(project_id, project, served)
        logger.info("project %d is answered by %s", project_id, served.model_version)

    def _loaded_version(self, project_id: int, number: int) -> ServedDecoder:
        decoder = self._versions.load(project_id, number)
        base = self._base.predictor
        name = f"version {number} of project {project_id}"
        if decoder.record.parent != base.checkpoint.fingerprint:
            raise VersionError(
                f"{name} does not serve: it was learnt from another checkpoint"
                f" ({decoder.record.parent[:12]}), and {base.checkpoint.model_version}"
                f" ({base.checkpoint.fingerprint[:12]}) is loaded. Learn again, or set"
                " MOBILESAM_CHECKPOINT to the checkpoint that it was learnt from."
            )
        try:
            predictor = base.with_decoder(decoder.arrays)
        except (ValueError, RuntimeError) as error:
            raise VersionError(f"{name} does not serve: {error} Learn again.") from error
        return ServedDecoder(predictor, number, self._name(project_id, number))

    def _name(self, project_id: int, number: int) -> str:
        return model_version(self._base.model_version, project_id, number)

    def _serve(self, project_id: int, project: _Project, served: ServedDecoder) -> None:
        with self._lock:
            if project.served is not served:
                project.served = served
                self._loaded.pop(project_id, None)
                if served.number is not None:
                    self._make_room()
                    self._loaded[project_id] = served
        project.is_known.set()

    def _make_room(self) -> None:
        while len(self._loaded) >= self._loaded.maxsize:
            forgotten, _ = self._loaded.popitem()
            project = self._projects.pop(forgotten, None)
            if project is not None:
                project.is_known.set()


def _is_known(item: tuple[int, _Project]) -> bool:
    return item[1].is_known.is_set()
