"""Annotators who open tasks and click at a human pace, and what they get."""

from __future__ import annotations

import base64
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.soak.pictures import HEIGHT, WIDTH, Question

_CLICKS_A_TASK = 4
_DIFFERENT = 0.001  # of the pixels; the last bit of a number may move a border pixel


@dataclass(frozen=True)
class Click:
    """A click and its outcome.

    Attributes:
        begun_s, ended_s: seconds of the run.
        outcome: ``right``, ``wrong``, ``named`` (no mask, and the backend says why) or the error of
            the connection.
    """

    begun_s: float
    ended_s: float
    outcome: str


class Annotators:
    """Several annotators, a thread each.

    Args:
        url: the backend.
        images: the URL that the pictures lie below.
        label_config: a config whose masks come as bitmasks.
        questions: what annotators click.
        pause: the time before the next click of an annotator, seconds.
    """

    def __init__(
        self,
        url: str,
        images: str,
        label_config: str,
        questions: Sequence[Question],
        pause: Callable[[random.Random], float],
    ) -> None:
        self.clicks: list[Click] = []
        self._url = url
        self._images = images
        self._label_config = label_config
        self._questions = questions
        self._pause = pause
        self._begun = time.monotonic()
        self._may_stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, count: int, seed: int) -> None:
        """Let annotators begin."""
        for index in range(count):
            rng = random.Random(f"{seed}-annotator-{index}")
            thread = threading.Thread(target=self._annotate, args=(rng,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let the annotators finish the clicks that they wait for."""
        self._may_stop.set()
        for thread in self._threads:
            thread.join()

    def now_s(self) -> float:
        """Seconds of the run."""
        return time.monotonic() - self._begun

    def _annotate(self, rng: random.Random) -> None:
        with httpx.Client(base_url=self._url, timeout=100) as client:
            while not self._may_stop.is_set():
                picture = rng.choice(self._questions).picture
                self._open(client, picture)
                of_picture = [one for one in self._questions if one.picture == picture]
                for question in rng.sample(of_picture, min(_CLICKS_A_TASK, len(of_picture))):
                    if self._may_stop.wait(self._pause(rng)):
                        return
                    self._click(client, question)

    def _open(self, client: httpx.Client, picture: int) -> None:
        task = {"id": picture, "project": 1, "data": {"image": self._image_url(picture)}}
        body = {"tasks": [task], "label_config": self._label_config, "params": {"context": None}}
        try:
            client.post("/predict", json=body)
        except httpx.HTTPError:
            return  # the clicks on the task will fail too, and are counted

    def _click(self, client: httpx.Client, question: Question) -> None:
        body = question.body(self._image_url(question.picture), self._label_config)
        begun_s = self.now_s()
        try:
            outcome = _outcome(client.post("/predict", json=body), question)
        except httpx.HTTPError as error:
            outcome = type(error).__name__
        self.clicks.append(Click(begun_s, self.now_s(), outcome))

    def _image_url(self, picture: int) -> str:
        return f"{self._images}/{picture}.png"


def _outcome(response: httpx.Response, question: Question) -> str:
    if response.status_code != httpx.codes.OK:
        return f"status {response.status_code}"
    (prediction,) = response.json()["results"]
    regions = prediction["result"]
    found = _mask(regions[0]["value"]["imageDataURL"]) if regions else None
    if found is None:
        return "named"
    is_right = np.mean(found != question.mask) <= _DIFFERENT
    return "right" if is_right else "wrong"


def _mask(data_url: str) -> npt.NDArray[np.bool_]:
    content = base64.b64decode(data_url.partition(",")[2])
    mask = np.asarray(Image.open(BytesIO(content)).convert("RGB"))[..., 0] > 0
    assert mask.shape == (HEIGHT, WIDTH)
    return mask
