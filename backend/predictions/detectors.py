"""Boxes for tasks that have none: from a Python function, from a service, or from an ML backend."""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, Protocol

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.http.client import HttpClient, parse_url, redacted
from backend.http.errors import HttpClientError
from backend.images.loading import ImageLoader
from backend.predictions.errors import DetectorError
from backend.regions import prompts
from backend.regions.labeling_config import LabelingConfig, ShownImage
from backend.regions.prompts import Interaction

_BACKEND = "ml+"  # before the URL of an ML backend
_JPEG_QUALITY = 95

Task = Mapping[str, Any]
Pixels = npt.NDArray[np.uint8]
# From an image, H x W x 3 uint8 RGB, to boxes, N x 4 (x0, y0, x1, y1) in pixels, to N labels and
# to N scores.
Function = Callable[[Pixels], tuple[Any, Any, Any]]


class UnknownLabels:
    """Counts boxes that are left out: the labeling config has no such label."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str) -> None:
        """Count a box with this label."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> Counter[str]:
        """How many boxes had which label."""
        with self._lock:
            return self._counts.copy()


class Detector(Protocol):
    """Finds boxes. Threads may share a detector.

    Attributes:
        unknown: the boxes that were left out.
    """

    unknown: UnknownLabels

    def boxes(self, task: Task, config: LabelingConfig) -> list[Interaction]:
        """The boxes of all images of a task.

        Raises:
            DetectorError: the detector fails, or answers something else.
            ImageError: an image is not available.
            UnanswerableRequestError: the task does not name an image.
        """


def connect(name: str, images: ImageLoader, http: HttpClient) -> Detector:
    """The detector of a name.

    Args:
        name: ``module:function``, the URL of a service, or ``ml+`` and the URL of an ML backend.
        images: loads the images.
        http: makes the requests. The operator has named the host, so it may have any address.

    Raises:
        DetectorError: there is no such function, or the URL is none.
    """
    if name.startswith(_BACKEND):
        return _MLBackend(_url(name.removeprefix(_BACKEND).rstrip("/") + "/predict"), http)
    if name.startswith(("http://", "https://")):
        return _OfPixels(_Service(_url(name), http), images)
    return _OfPixels(_OneAtATime(_function(name)), images)


class _OfPixels:
    """A detector that sees the pixels of an image, as the browser shows it."""

    def __init__(self, detect: Function, images: ImageLoader) -> None:
        self.unknown = UnknownLabels()
        self._detect = detect
        self._images = images

    def boxes(self, task: Task, config: LabelingConfig) -> list[Interaction]:
        found = []
        for image in config.images(task):
            pixels = self._images.load(image.ref).whole(None)
            found += self._boxes_of(image, pixels, config.for_task(task))
        return found

    def _boxes_of(
        self, image: ShownImage, pixels: Pixels, config: LabelingConfig
    ) -> list[Interaction]:
        size = pixels.shape[0], pixels.shape[1]
        corners, names = _checked(*self._detect(pixels))
        found = []
        for (x0, y0, x1, y1), name in zip(corners.tolist(), names, strict=True):
            label = config.label_like(name)
            if label is None:
                self.unknown.add(name)
                continue
            rectangle = prompts.rectangle_around((x0, y0, x1, y1), size)
            found.append(
                Interaction(
                    image.to_name,
                    (label,),
                    size,
                    rectangle=rectangle,
                    item_index=image.item_index,
                )
            )
        return found


class _MLBackend:
    """Another ML backend of Label Studio, asked as Label Studio asks."""

    def __init__(self, url: httpx.URL, http: HttpClient) -> None:
        self.unknown = UnknownLabels()
        self._url = url
        self._http = http

    def boxes(self, task: Task, config: LabelingConfig) -> list[Interaction]:
        body = {
            "tasks": [{**task, "annotations": [], "predictions": []}],
            "project": str(task.get("project")),
            "label_config": config.xml,
            "params": {"login": None, "password": None, "context": None},
        }
        answer = _answer(self._http, self._url, json=body)
        try:
            found = prompts.boxes(_result(answer), config.for_task(task))
        except (ValueError, TypeError, KeyError) as error:
            raise DetectorError(
                f"{redacted(self._url)} does not answer like an ML backend: {error}"
            ) from error
        known = []
        for box in found:
            labels = [config.label_like(label.name) for label in box.labels]
            same = tuple(label for label in labels if label is not None)
            if len(same) == len(box.labels):
                known.append(replace(box, labels=same, reported_size=None))
            else:
                self.unknown.add(" + ".join(label.name for label in box.labels))
        return known


class _OneAtATime:
    """A function of somebody else: few detectors allow several threads."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._lock = threading.Lock()

    def __call__(self, pixels: Pixels) -> tuple[Any, Any, Any]:
        with self._lock:
            try:
                boxes, labels, scores = self._function(pixels)
            except Exception as error:
                raise DetectorError(
                    f"the detector fails: {type(error).__name__}: {error}"
                ) from error
            return boxes, labels, scores


class _Service:
    """A service that takes a JPEG and answers with JSON: ``boxes``, ``labels`` and ``scores``."""

    def __init__(self, url: httpx.URL, http: HttpClient) -> None:
        self._url = url
        self._http = http

    def __call__(self, pixels: Pixels) -> tuple[Any, Any, Any]:
        content = BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=_JPEG_QUALITY)
        answer = _answer(self._http, self._url, content=content.getvalue())
        try:
            return answer["boxes"], answer["labels"], answer["scores"]
        except (TypeError, KeyError) as error:
            raise DetectorError(
                f'{redacted(self._url)} must answer {{"boxes": [[x0, y0, x1, y1], ...],'
                ' "labels": [...], "scores": [...]}'
            ) from error


def _answer(http: HttpClient, url: httpx.URL, **body: Any) -> Any:
    """The JSON that a detector answers."""
    headers = {"Content-Type": "image/jpeg"} if "content" in body else {}
    try:
        response = http.request(
            "POST", url, deadline=http.deadline(), headers=headers, is_trusted=True, **body
        )
    except HttpClientError as error:
        raise DetectorError(str(error)) from error
    if not response.is_ok:
        raise DetectorError(f"{redacted(url)} answered {response.status_line}")
    return response.json()


def _result(answer: Any) -> Sequence[Any]:
    """The regions in an ML backend's answer for one task."""
    (predictions,) = answer["results"]
    if isinstance(predictions, dict):
        predictions = [predictions]
    return [region for prediction in predictions or [] for region in prediction["result"]]


def _checked(boxes: Any, labels: Any, scores: Any) -> tuple[npt.NDArray[np.float64], list[str]]:
    """The boxes, N x 4, and their labels, once they fit together."""
    try:
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        names = [str(label) for label in labels]
        fits = len(corners) == len(names) == len(list(scores)) and np.isfinite(corners).all()
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise DetectorError(
            "a detector must give N boxes (x0, y0, x1, y1) in pixels, N labels and N scores"
        )
    return corners, names


def _function(name: str) -> Function:
    module, _, attribute = name.partition(":")
    try:
        function: Function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DetectorError(
            f'"{name}" is no detector: give module:function, the URL of a service, or ml+ and the'
            f" URL of an ML backend ({error})"
        ) from error
    return function


def _url(text: str) -> httpx.URL:
    try:
        return parse_url(text)
    except HttpClientError as error:
        raise DetectorError(f'"{text}" is no URL of a detector') from error
