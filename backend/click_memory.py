"""What was answered to the clicks so far: the next click on the object then needs one pass.

The predictor replays the earlier clicks of a prompt where it is not told their low-res mask. It
is the same, so nothing depends on this memory but time.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from model.types import FOREGROUND, ImageEmbedding, MaskPrediction, Prompt

_MOST = 128  # objects; of 256 KiB each

_Key = tuple[int, bytes, bytes]
_Entry = tuple[weakref.ref[ImageEmbedding], npt.NDArray[np.float32]]


class ClickMemory:
    """The low-res masks of the objects that were clicked last. Threads may share it."""

    def __init__(self) -> None:
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, embedding: ImageEmbedding, prompt: Prompt) -> Prompt:
        """The prompt with the low-res mask of its earlier clicks; as it is where none is known."""
        if prompt.has_box or len(prompt.point_labels) < 2:
            return prompt
        earlier = prompt.first(len(prompt.point_labels) - 1)
        with self._lock:
            entry = self._entries.get(_key(embedding, earlier))
        # Another embedding may have come to lie where one was that is no more.
        if entry is None or entry[0]() is not embedding:
            return prompt
        return replace(prompt, mask_input=entry[1])

    def keep(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        predictions: Sequence[MaskPrediction],
    ) -> None:
        """Remember what was answered to clicks; the predictor replays nothing after a box."""
        with self._lock:
            for prompt, prediction in zip(prompts, predictions, strict=True):
                if prompt.has_box or FOREGROUND not in prompt.point_labels:
                    continue
                key = _key(embedding, prompt)
                self._entries[key] = weakref.ref(embedding), prediction.low_res_mask
                self._entries.move_to_end(key)
                if len(self._entries) > _MOST:
                    self._entries.popitem(last=False)


def _key(embedding: ImageEmbedding, prompt: Prompt) -> _Key:
    return id(embedding), prompt.point_coords.tobytes(), prompt.point_labels.tobytes()
