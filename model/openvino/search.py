"""The search for objects: many points on one image, in one graph."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import openvino

from model import reference
from model.checkpoint import Parameters
from model.openvino.compiled_graph import CompiledGraph
from model.openvino.features import image_tokens
from model.openvino.mask_decoder import confident_masks
from model.reference import FindMasks, WrongAnswerError
from model.transforms import LOW_RES_STRIDE, TOKEN_STRIDE
from model.types import DecoderInputs, DecoderOutputs

if TYPE_CHECKING:
    from model.engines import Engine

_CELLS = TOKEN_STRIDE // LOW_RES_STRIDE  # rows of a low-res mask in a row of tokens

logger = logging.getLogger(__name__)


class Search:
    """The graph of ``Engine.find_masks``, compiled at its first use: few processes need it.

    Args:
        core: of OpenVINO.
        parameters: the checkpoint.
        precision: ``fp32``, ``bf16`` or ``fp16``. The mask of a single click needs fp32, since an
            annotator sees that it moves. Here a point is one of many.
    """

    def __init__(self, core: openvino.Core, parameters: Parameters, precision: str) -> None:
        self._core = core
        self._model = confident_masks(parameters)
        self._precision = precision
        self._graph: CompiledGraph | None = None
        self._lock = threading.Lock()

    def verified(self, engine: Engine) -> FindMasks:
        """``Engine.find_masks``, whose answers agree with those of the decoder.

        Where a reduced precision does not answer as it should, fp32 does.

        Args:
            engine: the engine that this search belongs to.
        """
        with self._lock:
            if self._graph is None:
                self._graph = self._compiled(engine)
            return partial(_find_masks, self._graph)

    def release_memory(self) -> None:
        """Give back the buffers."""
        with self._lock:
            if self._graph is not None:
                self._graph.release_memory()

    def _compiled(self, engine: Engine) -> CompiledGraph:
        graph = CompiledGraph(self._core, self._model, self._precision)
        try:
            reference.check_search(engine, partial(_find_masks, graph), self._precision)
        except WrongAnswerError as error:
            if self._precision == "fp32":
                raise
            logger.error(
                "the search failed its self-check in %s (%s): it runs in fp32",
                self._precision,
                error,
            )
            graph = CompiledGraph(self._core, self._model, "fp32")
            reference.check_search(engine, partial(_find_masks, graph), "fp32")
        return graph


def _find_masks(
    graph: CompiledGraph, inputs: DecoderInputs, iou_thresh: float, rows: int
) -> DecoderOutputs:
    thresh, token_rows = np.array([iou_thresh], np.float32), np.array([-(-rows // _CELLS)])
    points = inputs.point_coords, inputs.point_labels
    with graph.run(image_tokens(inputs.features), *points, thresh, token_rows) as (
        low_res_masks,  # K x 3 x 4 token_rows x S/4
        prompts,
        iou_predictions,
    ):
        ious = iou_predictions[prompts.astype(np.int64), 1:]
        is_wanted = ious >= iou_thresh
        return low_res_masks[is_wanted][:, :rows], ious[is_wanted]
