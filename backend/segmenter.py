"""The one process-wide object: a predictor and the embeddings it has made."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from backend import metrics
from backend.click_memory import ClickMemory
from backend.embedding_store import EmbeddingStore, IsUrgent
from model.predictor import Predictor
from model.second_look import Look, Tile
from model.types import ImageEmbedding, MaskPrediction, Prompt

logger = logging.getLogger(__name__)

LoadImage = Callable[[], npt.NDArray[np.uint8]]


class Segmenter:
    """Embeds images through the store and predicts masks. Threads may share it."""

    def __init__(self, predictor: Predictor, store: EmbeddingStore) -> None:
        self._predictor = predictor
        self._store = store
        self._clicks = ClickMemory()
        self._turn = _Turn()

    def measure(self) -> tuple[float, float]:
        """Seconds that an image and a click take, once everything is warm."""
        image = np.zeros((1080, 1920, 3), dtype=np.uint8)
        begun = time.perf_counter()
        embedding = self._predictor.embed(image)
        embedded = time.perf_counter()
        self._predictor.predict(embedding, Prompt.from_points([(960, 540)]))
        return embedded - begun, time.perf_counter() - embedded

    @property
    def model_version(self) -> str:
        """Which weights answer, as Label Studio shows it."""
        return self._predictor.checkpoint.model_version

    @property
    def engine(self) -> str:
        """What runs the network: engine, device, precision."""
        return self._predictor.engine.description

    def embed(
        self,
        image_key: str,
        load: LoadImage,
        reported_size: tuple[int, int] | None = None,
        *,
        task_id: int | None = None,
        urgent: bool = True,
    ) -> ImageEmbedding:
        """The embedding of an image, from the store or encoded now.

        Args:
            image_key: names the image; the same key must mean the same picture.
            load: gets the image, H x W x 3 uint8 RGB; called only when it must be encoded.
            reported_size: (H, W) of the image the annotator sees, where Label Studio tells. An
                embedding of another size is of another picture: the image is encoded again.
            task_id: the task it belongs to, so that it can be dropped with it.
            urgent: whether an annotator waits. Others let the urgent ones go first.

        Raises:
            ImageError: ``load`` failed.
        """
        return self._embed(
            self._key(image_key), load, reported_size, task_id, urgent, metrics.ENCODES
        )

    def embed_tile(
        self,
        image_key: str,
        original_size: tuple[int, int],
        tile: Tile,
        load: LoadImage,
        *,
        task_id: int | None = None,
    ) -> ImageEmbedding:
        """The embedding of a tile of an image, for which an annotator waits; see :meth:`embed`.

        Args:
            image_key: of the whole image.
            original_size: (H, W) of the whole image: of another size it is another picture.
            load: gets what the tile shows.
        """
        height, width = original_size
        part = f"{tile.left}-{tile.top}-{tile.width}x{tile.height}"
        name = f"{part}-of-{width}x{height}-{image_key}"
        return self._embed(self._key(name), load, tile.size, task_id, True, metrics.TILE_ENCODES)

    def has(self, image_key: str) -> bool:
        """Whether the embedding of an image is kept beyond this process."""
        return self._store.has(self._key(image_key))

    def segment(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], look: Look | None = None
    ) -> list[MaskPrediction]:
        """The masks of objects; see :meth:`model.Predictor.segment`."""
        known = [self._clicks.recall(embedding, prompt) for prompt in prompts]
        predictions = self._predictor.segment(embedding, known, look)
        self._clicks.keep(embedding, prompts, predictions)
        return predictions

    def forget_task(self, task_id: int) -> None:
        """Drop what is kept for a task that is no more."""
        self._store.forget_task(task_id)

    def _key(self, image_key: str) -> str:
        return f"{self._predictor.checkpoint.fingerprint[:16]}-{image_key}"

    def _embed(
        self,
        key: str,
        load: LoadImage,
        reported_size: tuple[int, int] | None,
        task_id: int | None,
        urgent: bool,
        counter: Counter,
    ) -> ImageEmbedding:
        was_kept = True

        def encode(is_urgent: IsUrgent) -> ImageEmbedding:
            nonlocal was_kept
            was_kept = False
            embedding = self._encode(load, is_urgent)
            counter.inc()
            if task_id is not None:
                self._store.note_task(task_id, key)
            return embedding

        embedding = self._store.get_or_compute(key, encode, urgent=urgent)
        if was_kept and reported_size not in (None, embedding.original_size):
            self._store.drop(key)
            embedding = self._store.get_or_compute(key, encode, urgent=urgent)
        return embedding

    def _encode(self, load: LoadImage, is_urgent: IsUrgent) -> ImageEmbedding:
        started = time.perf_counter()
        image = load()
        loaded = time.perf_counter()
        with self._turn.take(is_urgent):
            begun = time.perf_counter()
            embedding = self._predictor.embed(image)
        metrics.ENCODE_SECONDS.observe(time.perf_counter() - begun)
        logger.info(
            "encoded an image of %d x %d: load %.0f ms, wait %.0f ms, encode %.0f ms",
            image.shape[1],
            image.shape[0],
            (loaded - started) * 1000,
            (begun - loaded) * 1000,
            (time.perf_counter() - begun) * 1000,
        )
        return embedding


class _Turn:
    """One encode at a time, those first that somebody waits for.

    One encode uses every core; two at once would only make both annotators wait longer.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._is_taken = False
        self._urgent_waiting = 0

    @contextmanager
    def take(self, is_urgent: IsUrgent) -> Iterator[None]:
        """Wait for the turn and keep it. An encode in the background may become urgent."""
        counts = is_urgent()
        with self._condition:
            self._urgent_waiting += counts
            self._condition.wait_for(
                lambda: not self._is_taken and (not self._urgent_waiting or counts or is_urgent())
            )
            self._urgent_waiting -= counts
            self._is_taken = True
        try:
            yield
        finally:
            with self._condition:
                self._is_taken = False
                self._condition.notify_all()
