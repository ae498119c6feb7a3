"""Encodes images one batch after the other. An annotator who has clicked goes first.

An encode uses the whole processor. Two encodes at once would make both annotators wait longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from backend.embeddings.priority import Demand, yield_to_other_threads
from model.types import ImageEmbedding

Pixels = npt.NDArray[np.uint8]
EmbedBatch = Callable[[Sequence[Pixels], Sequence[tuple[int, int]]], list[ImageEmbedding]]


@dataclass(frozen=True)
class Encoded:
    """An embedding, and how long its caller waited.

    Attributes:
        embedding: the embedding.
        wait_s: seconds until the encode began.
        encode_s: seconds that the encode took. Images of a batch share them.
    """

    embedding: ImageEmbedding
    wait_s: float
    encode_s: float


@dataclass(eq=False)
class _Waiting:
    image: Pixels
    original_size: tuple[int, int]
    demand: Demand
    since: float = field(default_factory=time.perf_counter)
    result: Future[Encoded] = field(default_factory=Future)


class EncoderQueue:
    """Images that wait for the encoder. Threads may share a queue.

    Args:
        embed_batch: embeds images together.
        batch_size: the largest number of images in a batch.
    """

    def __init__(self, embed_batch: EmbedBatch, batch_size: int) -> None:
        self._embed_batch = embed_batch
        self._batch_size = batch_size
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "encoder", initializer=yield_to_other_threads)

    def encode(self, image: Pixels, original_size: tuple[int, int], demand: Demand) -> Encoded:
        """Wait for the turn of an image and embed it.

        Args:
            image: H x W x 3 uint8 RGB.
            original_size: (H, W) of the original image, where ``image`` is a smaller copy of it.
            demand: how urgent the image is. Its priority may rise during the wait.
        """
        item = _Waiting(image, original_size, demand)
        with self._lock:
            self._waiting.append(item)
        self._thread.submit(self._encode_next)
        return item.result.result()

    def _encode_next(self) -> None:
        """Encode the most urgent images. None may be left: an earlier batch may have had them."""
        batch = self._take()
        if not batch:
            return
        begun = time.perf_counter()
        try:
            embeddings = self._embed_batch(
                [item.image for item in batch], [item.original_size for item in batch]
            )
        except BaseException as error:  # the callers raise the error
            for item in batch:
                item.result.set_exception(error)
            return
        encode_s = time.perf_counter() - begun
        for item, embedding in zip(batch, embeddings, strict=True):
            item.result.set_result(Encoded(embedding, begun - item.since, encode_s))

    def _take(self) -> list[_Waiting]:
        """The most urgent image, and others of the same priority that fit into its batch.

        Less urgent images would make the batch, and the annotator's wait, longer.
        """
        with self._lock:
            urgent = min((item.demand.priority for item in self._waiting), default=None)
            alike = [item for item in self._waiting if item.demand.priority == urgent]
            batch = alike[: self._batch_size]
            self._waiting = [item for item in self._waiting if item not in batch]
        return batch
