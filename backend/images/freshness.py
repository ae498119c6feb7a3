"""Finds out that an image was replaced under its URL, and who may see an image.

An embedding outlives the click that it was made for. Before an embedding is used again, the host of
the image is asked two things: is the file still the same, and may the task see the file?
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path

import cachetools

from backend.http.errors import HttpClientError
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.image_ref import ImageRef
from backend.images.urls import is_data_uri
from backend.images.validator import Validator
from backend.label_studio.errors import LabelStudioError

logger = logging.getLogger(__name__)

_MAX_IMAGES = 10_000
_MAX_CHECKS = 8  # at once; above that, images are checked at a later use
_REMEMBERED_S = 1.0  # the shortest time that the result of a check holds
_SHARE = 20  # at most a twentieth of the time is spent on checking an image
_PATIENCE_S = 0.05  # the longest wait of a click
_ACCESS_S = 300.0  # how long a proof of access holds


@dataclass(frozen=True)
class _State:
    """The result of the last check of an image: what is there, and until when that holds."""

    validator: Validator
    took_s: float
    valid_until: float


class ImageWatch:
    """Checks the images behind kept embeddings. Threads may share a watch.

    A file in a mounted folder is checked at every use. A file on another host is checked in the
    background, and only quick hosts are waited for, 50 ms at most: a click is never slow because of
    a slow host. Such a click may still get the earlier picture's mask; the next click does not.

    Args:
        fetcher: asks the hosts.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._lock = threading.Lock()
        self._states: cachetools.LRUCache[ImageRef, _State] = cachetools.LRUCache(_MAX_IMAGES)
        self._proofs: cachetools.TTLCache[ImageRef, bool] = cachetools.TTLCache(
            _MAX_IMAGES, _ACCESS_S, time.monotonic
        )
        self._running: dict[ImageRef, Future[Validator]] = {}

    def note(self, ref: ImageRef, validator: Validator) -> None:
        """Note that an image was just fetched."""
        if not is_data_uri(ref.url):  # the URL is the content, and megabytes long
            self._keep(ref, validator, 0.0)

    def has_proof(self, ref: ImageRef) -> bool:
        """Whether :meth:`prove_access` returns at once."""
        if not ref.needs_proof or ref.path is not None:
            return True
        with self._lock:
            return ref in self._proofs

    def prove_access(self, ref: ImageRef) -> None:
        """Make sure that the task may see the image, where the key does not prove that.

        The proof is remembered for five minutes.

        Raises:
            ImageError: the host or Label Studio refuses the image, or does not answer.
        """
        if self.has_proof(ref):
            return
        with self._lock:
            state = self._states.get(ref)
        try:
            self._check(ref, state.validator if state else Validator()).result()
        except (HttpClientError, LabelStudioError) as error:
            raise ImageError(str(error)) from error

    def is_stale(self, ref: ImageRef, validator: Validator, *, waits: bool = False) -> bool:
        """Whether the file behind an image is known to differ from the file of a validator.

        Args:
            ref: the image.
            validator: of the file that was encoded.
            waits: whether to wait until the host has answered.
        """
        if is_data_uri(ref.url):
            return False
        path = ref.path or self._mounted(ref)
        if path is not None:
            return self._is_stale_file(path, validator)
        current = self._current(ref, validator, waits)
        return current is not None and current.is_same_file(validator) is False

    def _mounted(self, ref: ImageRef) -> Path | None:
        try:
            return self._fetcher.mounted(ref.url)
        except (HttpClientError, LabelStudioError):
            return None

    def _is_stale_file(self, path: Path, validator: Validator) -> bool:
        try:
            current = Validator.of_file(path.stat())
            if current.is_same_file(validator):
                return False
            current = self._fetcher.read(path).validator
        except (OSError, HttpClientError) as error:
            logger.debug("%s cannot be checked: %s", path, error)
            return False
        return current.is_same_file(validator) is False

    def _current(self, ref: ImageRef, validator: Validator, waits: bool) -> Validator | None:
        """The last known validator of an image; None if nothing is known yet."""
        with self._lock:
            state = self._states.get(ref)
            is_busy = len(self._running) >= _MAX_CHECKS and ref not in self._running
        last = state.validator if state is not None else None
        is_decided = last is not None and last.is_same_file(validator) is not None
        if is_busy or (state and is_decided and time.monotonic() < state.valid_until):
            return last
        check = self._check(ref, last if last and is_decided else validator)
        is_quick = state is None or state.took_s < _PATIENCE_S
        wait([check], None if waits else _PATIENCE_S if is_quick else 0.0)
        if check.done() and check.exception() is None:
            return check.result()
        return last

    def _check(self, ref: ImageRef, known: Validator) -> Future[Validator]:
        """Begin a check in the background, or join the check that runs."""
        with self._lock:
            running = self._running.get(ref)
            if running is not None:
                return running
            check = self._running[ref] = Future[Validator]()
        threading.Thread(
            target=self._run, args=(ref, known, check), name="image-check", daemon=True
        ).start()
        return check

    def _run(self, ref: ImageRef, known: Validator, check: Future[Validator]) -> None:
        begun = time.monotonic()
        try:
            current = self._look(ref, known)
        except Exception as error:  # whoever waits for the check decides
            logger.debug("%s was not checked: %s", ref, error)
            if known.sha256 or known.stamp:
                self._keep(ref, known, time.monotonic() - begun, is_proven=False)
            outcome: Validator | Exception = error
        else:
            self._keep(ref, current, time.monotonic() - begun)
            outcome = current
        with self._lock:
            del self._running[ref]
        if isinstance(outcome, Exception):
            check.set_exception(outcome)
        else:
            check.set_result(outcome)

    def _look(self, ref: ImageRef, known: Validator) -> Validator:
        """Ask the host. If its headers do not tell whether the file is the same, compare contents.

        Hosts behind a load balancer may send another ETag for the same file.
        """
        current = self._fetcher.probe(ref.url, ref.task_id, known)
        if current.is_same_file(known):
            return known
        if known == Validator():  # there is nothing to compare with: only the access was asked
            return current
        return self._fetcher.fetch(ref.url, ref.task_id).validator

    def _keep(
        self, ref: ImageRef, validator: Validator, took_s: float, *, is_proven: bool = True
    ) -> None:
        valid_until = time.monotonic() + max(_REMEMBERED_S, _SHARE * took_s)
        with self._lock:
            self._states[ref] = _State(validator, took_s, valid_until)
            if is_proven:
                self._proofs[ref] = True
