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

# a dead reference is equal to no other, so nothing is found of an image that was forgotten
_Key = tuple[weakref.ref[ImageEmbedding], bytes, bytes]


class ClickMemory:
    """The low-res masks of the objects that were clicked last. Threads may share it."""

    def __init__(self) -> None:
        self._entries: OrderedDict[_Key, npt.NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, embedding: ImageEmbedding, prompt: Prompt) -> Prompt:
        """The prompt with the low-res mask of its earlier clicks; as it is where none is known."""
        if len(prompt.clicks) + prompt.has_box < 2:
            return prompt
        earlier = prompt.first(len(prompt.clicks) - 1)
        with self._lock:
            low_res_mask = self._entries.get(_key(embedding, earlier))
        return prompt if low_res_mask is None else replace(prompt, mask_input=low_res_mask)

    def keep(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        predictions: Sequence[MaskPrediction],
    ) -> None:
        """Remember what was answered; nothing is replayed of clicks beside an object alone."""
        with self._lock:
            for prompt, prediction in zip(prompts, predictions, strict=True):
                if not prompt.has_box and FOREGROUND not in prompt.clicks:
                    continue
                key = _key(embedding, prompt)
                self._entries[key] = prediction.low_res_mask
                self._entries.move_to_end(key)
                if len(self._entries) > _MOST:
                    self._entries.popitem(last=False)


def _key(embedding: ImageEmbedding, prompt: Prompt) -> _Key:
    return weakref.ref(embedding), prompt.point_coords.tobytes(), prompt.point_labels.tobytes()
