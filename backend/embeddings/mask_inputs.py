"""Keeps the low-res masks of the last answers, so that the next click needs one network pass.

The mask of the earlier clicks goes into the network with the next click. Where that mask is not
kept, the earlier clicks are replayed. The answer is the same.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace

import cachetools
import numpy as np
import numpy.typing as npt

from model.interactive import MaskInputs
from model.predictor import Predictor
from model.types import FOREGROUND, ImageEmbedding, MaskPrediction, Prompt

_MAX_ENTRIES = 128  # masks; a mask of the published checkpoint takes 256 KiB

# A reference to a deleted object equals no other reference. So its masks are never found again.
_Key = tuple[weakref.ref[Predictor], weakref.ref[ImageEmbedding], bytes, bytes]


class MaskInputCache:
    """The masks of all predictors of a process. Threads may share a cache."""

    def __init__(self) -> None:
        self._low_res_masks: cachetools.LRUCache[_Key, npt.NDArray[np.float32]] = (
            cachetools.LRUCache(_MAX_ENTRIES)
        )
        self._lock = threading.Lock()

    def of(self, predictor: Predictor) -> MaskInputs:
        """The masks of one predictor. Two decoders never see each other's masks."""
        return _OfPredictor(self, weakref.ref(predictor))

    def find(self, key: _Key) -> npt.NDArray[np.float32] | None:
        """The low-res mask that was kept under a key."""
        with self._lock:
            return self._low_res_masks.get(key)

    def keep(self, masks: Mapping[_Key, npt.NDArray[np.float32]]) -> None:
        """Keep low-res masks."""
        with self._lock:
            self._low_res_masks.update(masks)


class _OfPredictor:
    """See :class:`model.interactive.MaskInputs`."""

    def __init__(self, cache: MaskInputCache, predictor: weakref.ref[Predictor]) -> None:
        self._cache = cache
        self._predictor = predictor

    def recall(self, embedding: ImageEmbedding, prompt: Prompt) -> Prompt:
        """See :meth:`model.interactive.MaskInputs.recall`."""
        if len(prompt.clicks) + prompt.has_box < 2:
            return prompt
        earlier = prompt.first(len(prompt.clicks) - 1)
        low_res_mask = self._cache.find(self._key(embedding, earlier))
        return prompt if low_res_mask is None else replace(prompt, mask_input=low_res_mask)

    def keep(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        predictions: Sequence[MaskPrediction],
    ) -> None:
        """See :meth:`model.interactive.MaskInputs.keep`."""
        self._cache.keep(
            {
                self._key(embedding, prompt): prediction.low_res_mask
                for prompt, prediction in zip(prompts, predictions, strict=True)
                # Negative clicks alone get no mask, so there is none to go on from.
                if prompt.has_box or FOREGROUND in prompt.clicks
            }
        )

    def _key(self, embedding: ImageEmbedding, prompt: Prompt) -> _Key:
        points = prompt.point_coords.tobytes(), prompt.point_labels.tobytes()
        return (self._predictor, weakref.ref(embedding), *points)
