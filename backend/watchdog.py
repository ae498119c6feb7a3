"""Ends a process whose engine hangs, after the callers have got an error.

A driver or a GPU may stop to answer in the middle of a call. Nothing can end such a call, and every
further click would wait for it. gunicorn replaces a worker that has ended.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from copy import copy
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from model.checkpoint import Arrays
from model.engines import Engine
from model.types import Choose, DecoderInputs, DecoderOutputs

# Label Studio waits 100 s for a mask. A click may wait in the queue before its call begins. The
# encoder needs 78 GFLOP, so even a machine with 4 GFLOP/s finishes an image in 20 s.
DEADLINE_S = 45
_LAST_ANSWERS_S = 3.0  # the time to send the errors before the process ends
_MOST_CALLS = 1024  # at once; each has a thread

logger = logging.getLogger(__name__)

T = TypeVar("T")


class EngineHungError(RuntimeError):
    """The engine hangs, and this process is about to end."""

    def __init__(self) -> None:
        super().__init__("the model does not answer any more and is being restarted: click again")


class WatchedEngine:
    """An engine whose calls end in time, with an error if necessary.

    An engine hangs when calls wait for ``DEADLINE_S`` seconds and none of their kind ends. A call
    that waits for its turn does not count: other calls end meanwhile. Time in which the whole
    process is stopped does not count either.

    Args:
        engine: the engine to watch. See :class:`model.engines.Engine` for its methods.
    """

    def __init__(self, engine: Engine) -> None:
        self.image_size = engine.image_size
        self.embedding_width = engine.embedding_width
        self.encode_batch = engine.encode_batch
        self.device = engine.device
        self.description = engine.description
        self._hung: Future[Any] = Future()
        self._lock = threading.Lock()
        self._engine = engine
        self._encoder = _Calls(engine.encode)
        self._decoder = _Calls(engine.decode)
        self._search = _Calls(engine.find_masks)

    @property
    def has_hung(self) -> bool:
        """Whether a call has hung, so that this process is about to end."""
        return self._hung.done()

    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """See :class:`model.engines.Engine`.

        Raises:
            EngineHungError: the engine hangs.
        """
        return self._answer(self._encoder, images)

    def decode(self, inputs: DecoderInputs, choose: Choose | None = None) -> DecoderOutputs:
        """See :class:`model.engines.Engine`.

        Raises:
            EngineHungError: the engine hangs.
        """
        return self._answer(self._decoder, inputs, choose)

    def find_masks(self, inputs: DecoderInputs, iou_thresh: float, rows: int) -> DecoderOutputs:
        """See :class:`model.engines.Engine`.

        Raises:
            EngineHungError: the engine hangs.
        """
        return self._answer(self._search, inputs, iou_thresh, rows)

    def with_decoder(self, arrays: Arrays) -> WatchedEngine:
        """See :class:`model.engines.Engine`. Both engines hang as soon as one of them hangs."""
        other = copy(self)
        other._engine = self._engine.with_decoder(arrays)
        other._decoder = _Calls(other._engine.decode)
        other._search = _Calls(other._engine.find_masks)
        return other

    def _answer(self, calls: _Calls[T], *arguments: Any) -> T:
        if self.has_hung:
            raise EngineHungError
        answer = calls.begin(*arguments)
        ended, waited_s = calls.ended, 0
        while waited_s < DEADLINE_S:
            done, _ = wait([answer, self._hung], timeout=1, return_when=FIRST_COMPLETED)
            if answer in done:
                return answer.result()
            if done:
                raise EngineHungError
            if calls.ended == ended:
                waited_s += 1
            else:
                ended, waited_s = calls.ended, 0
        self._give_up()
        raise EngineHungError

    def _give_up(self) -> None:
        with self._lock:
            if self.has_hung:
                return
            self._hung.set_result(None)
        logger.critical(
            "the engine (%s) has not answered for %d s: process %d ends now, and gunicorn replaces"
            " it. When that happens again, look at the driver, or set ENGINE or PRECISION.",
            self.description,
            DEADLINE_S,
            os.getpid(),
        )
        end = threading.Timer(_LAST_ANSWERS_S, os._exit, [1])
        end.daemon = True
        end.start()


class _Calls(Generic[T]):
    """Calls of one function, each in a thread that may hang without its caller.

    On Linux a new thread inherits the priority of its caller, so a caller with a low priority
    computes with a low priority here too.

    Attributes:
        ended: how many calls have ended.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        self.ended = 0
        self._function = function
        self._threads = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="engine")

    def begin(self, *arguments: Any) -> Future[T]:
        """Call the function without waiting for its end."""
        return self._threads.submit(self._run, *arguments)

    def _run(self, *arguments: Any) -> T:
        try:
            return self._function(*arguments)
        finally:
            self.ended += 1
