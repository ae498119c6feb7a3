"""Who is encoded first, and who together."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from backend.embeddings.encoder_queue import Encoded, EncoderQueue
from backend.embeddings.priority import Demand, Priority
from model.types import ImageEmbedding

Size = tuple[int, int]


class HeldEncoder:
    """Encodes when it is told to; an image is known by its first pixel."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = threading.Event()

    def __call__(
        self, images: Sequence[np.ndarray], original_sizes: Sequence[Size]
    ) -> list[ImageEmbedding]:
        names = [int(image[0, 0, 0]) for image in images]
        self.batches.append(names)
        self.go_on.wait(60)
        if 13 in names:
            raise ValueError("unlucky")
        return [
            ImageEmbedding(np.full((1, 1, 1, 1), name, np.float32), size)
            for name, size in zip(names, original_sizes, strict=True)
        ]


class Callers:
    """Threads that wait for embeddings."""

    def __init__(self, encoder: HeldEncoder, batch_size: int) -> None:
        self._encoder = encoder
        self._queue = EncoderQueue(encoder, batch_size)
        self._pool = ThreadPoolExecutor(32)

    def want(self, name: int, demand: Demand) -> Future[Encoded]:
        image = np.full((2, 2, 3), name, np.uint8)
        waiting = len(self._queue._waiting) + len(self._encoder.batches)
        future = self._pool.submit(self._queue.encode, image, (name, name), demand)
        wait_until(lambda: len(self._queue._waiting) + len(self._encoder.batches) != waiting)
        if not waiting:  # the first image is encoded at once, and is no longer in the queue
            wait_until(lambda: bool(self._encoder.batches))
        return future


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "nothing happened within a minute"
        time.sleep(0.001)


@pytest.fixture
def encoder() -> HeldEncoder:
    return HeldEncoder()


def test_the_most_urgent_goes_first(encoder: HeldEncoder) -> None:
    callers = Callers(encoder, batch_size=1)
    demands = {name: Demand(Priority.REST) for name in (1, 2)}
    futures = [callers.want(0, Demand(Priority.REST)), callers.want(1, demands[1])]
    futures += [callers.want(2, demands[2]), callers.want(3, Demand(Priority.NEXT))]
    demands[2].join(Priority.CLICK)  # an annotator clicks on that image now
    encoder.go_on.set()
    assert [future.result().embedding.original_size[0] for future in futures] == [0, 1, 2, 3]
    assert encoder.batches == [[0], [2], [3], [1]]


def test_images_of_one_priority_are_encoded_together(encoder: HeldEncoder) -> None:
    callers = Callers(encoder, batch_size=4)
    futures = [callers.want(name, Demand(Priority.REST)) for name in range(6)]
    futures.append(callers.want(6, Demand(Priority.CLICK)))
    encoder.go_on.set()
    names = [future.result().embedding.features.item() for future in futures]
    assert names == [0, 1, 2, 3, 4, 5, 6]
    assert encoder.batches == [[0], [6], [1, 2, 3, 4], [5]]


def test_an_error_reaches_every_caller_of_the_batch_and_nobody_else(encoder: HeldEncoder) -> None:
    callers = Callers(encoder, batch_size=2)
    futures = [callers.want(name, Demand(Priority.REST)) for name in (0, 12, 13, 14)]
    encoder.go_on.set()
    assert futures[0].result().embedding.original_size == (0, 0)
    for future in futures[1:3]:
        with pytest.raises(ValueError, match="unlucky"):
            future.result()
    assert futures[3].result().embedding.original_size == (14, 14)
