"""Questions to an engine, and whether it answers as another one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt

from model.types import Choose, DecoderInputs, DecoderOutputs, single_masks

# Relative errors, in the norm of all values. Reduced precision errs by 0.02 or so; a wrong graph,
# a wrong kernel or other weights by 0.1 and more. Two libraries differ by 1e-6 in fp32.
_REDUCED_TOLERANCE = 0.05
_FP32_TOLERANCE = 1e-4

# Every third row and column is compared: no multiple of 4, as a token is 4 x 4 pixels of a mask.
_STEP = 3


class Answering(Protocol):
    """The parts of :class:`model.engines.Engine` that are asked here."""

    image_size: int

    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """See :class:`model.engines.Engine`."""

    def decode(self, inputs: DecoderInputs, choose: Choose | None = None) -> DecoderOutputs:
        """See :class:`model.engines.Engine`."""


# ``Engine.find_masks``
FindMasks = Callable[[DecoderInputs, float, int], DecoderOutputs]


class WrongAnswerError(Exception):
    """An engine does not answer as expected; says which answer is off and by how much."""


@dataclass(frozen=True)
class Answers:
    """What an engine answers. Of images, every third row and column.

    Attributes:
        embedding: 1 x C x S/16 x S/16 float16, complete: what the prompts are about.
        features: the same in full precision, 1 x C x rows x columns.
        low_res_masks: B x 4 x rows x columns.
        iou_predictions: B x 4.
        refined_masks: B x 1 x rows x columns, the first answers alone, with mask prompts.
    """

    embedding: npt.NDArray[np.float16]
    features: npt.NDArray[np.float32]
    low_res_masks: npt.NDArray[np.float32]
    iou_predictions: npt.NDArray[np.float32]
    refined_masks: npt.NDArray[np.float32]

    def save(self, file: IO[bytes]) -> None:
        """Write a file of numpy's format."""
        np.savez_compressed(file, allow_pickle=False, **asdict(self))

    @classmethod
    def load(cls, file: IO[bytes]) -> Answers:
        """Read what :meth:`save` wrote.

        Raises:
            Exception: something else is in the file; numpy and zipfile have many of them.
        """
        with np.load(file) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


def warm_up(engine: Answering) -> None:
    """Ask, and take any answer: the first run of an engine is several times slower."""
    ask(engine)


def ask(engine: Answering) -> Answers:
    """What an engine answers to an image, a click, a box and mask prompts."""
    features = engine.encode([image(engine.image_size)])
    embedding = features.astype(np.float16)
    return Answers(embedding, _sample(features), *_ask_about(engine, embedding))


def check(engine: Answering, expected: Answers, precision: str) -> dict[str, float]:
    """Ask an engine, and compare its answers.

    Args:
        expected: of the same checkpoint, from an engine that is right.
        precision: of the engine. What leads to the IoU is always computed in fp32.

    Returns:
        The relative error of each answer.

    Raises:
        WrongAnswerError: an answer is off.
    """
    tolerance = _FP32_TOLERANCE if precision == "fp32" else _REDUCED_TOLERANCE
    features = _sample(engine.encode([image(engine.image_size)]))
    masks, iou_predictions, refined = _ask_about(engine, expected.embedding)
    return {
        name: _compare(name, found, getattr(expected, name), allowed)
        for name, found, allowed in (
            ("features", features, tolerance),
            ("low_res_masks", masks, tolerance),
            ("iou_predictions", iou_predictions, _FP32_TOLERANCE),
            ("refined_masks", refined, tolerance),
        )
    }


def check_search(engine: Answering, find_masks: FindMasks, precision: str) -> None:
    """Compare what ``find_masks`` finds with the answers of ``engine.decode``.

    Args:
        engine: an engine that is right.
        find_masks: has the same checkpoint.
        precision: of ``find_masks``.

    Raises:
        WrongAnswerError: an answer is off.
    """
    tolerance = _FP32_TOLERANCE if precision == "fp32" else _REDUCED_TOLERANCE
    features = engine.encode([image(engine.image_size)])
    question = DecoderInputs(features, *points(engine.image_size))
    masks, ious = engine.decode(question)
    lowest, rows = float(ious.min()) - 1, engine.image_size // 4
    found, found_ious = find_masks(question, lowest, rows)
    expected = masks[:, 1:].reshape(-1, 1, rows, rows)
    _compare("masks of a search", _sample(found[:, None]), _sample(expected), tolerance)
    _compare("their iou_predictions", found_ious, ious[:, 1:].ravel(), tolerance)


def check_finite(engine: Answering, features_shape: tuple[int, ...]) -> None:
    """Ask an engine about noise in the place of an embedding. The image encoder does not run.

    The first answer of an engine takes several times longer than others, and is taken here. The
    question is a single click, so the engine takes no more memory than for clicks.

    Args:
        features_shape: 1 x C x S/16 x S/16.

    Raises:
        ValueError: an answer is not finite.
    """
    noise = np.random.default_rng(0).standard_normal(features_shape, dtype=np.float32)
    coords, labels = points(engine.image_size)
    mask_input = _mask_inputs(engine.image_size // 4)[:1]
    for mask in (None, mask_input):
        question = DecoderInputs(noise, coords[:1], labels[:1], mask)
        masks, ious = engine.decode(question, single_masks)
        if not (np.isfinite(masks).all() and np.isfinite(ious).all()):
            raise ValueError("the masks of the decoder are not finite")


def _ask_about(
    engine: Answering, embedding: npt.NDArray[np.float16]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    question = DecoderInputs(embedding, *points(engine.image_size))
    masks, iou_predictions = engine.decode(question)
    refinement = replace(question, mask_inputs=_mask_inputs(engine.image_size // 4))
    refined, _ = engine.decode(refinement, single_masks)
    return _sample(masks), iou_predictions, _sample(refined)


def _sample(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return images[:, :, ::_STEP, ::_STEP]


def _compare(
    name: str,
    found: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    tolerance: float,
) -> float:
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if not error < tolerance:  # NaN too
        raise WrongAnswerError(f"{name} is off by {error:.2g}, at most {tolerance} is allowed")
    return error


def points(size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """``point_coords`` and ``point_labels`` of two prompts: a click, and a box around a disc."""
    coords = np.array([[[0.3, 0.3], [0, 0]], [[0.45, 0.25], [0.85, 0.65]]], np.float32)
    return coords * size, np.array([[1, -1], [2, 3]], dtype=np.int64)


def image(size: int) -> npt.NDArray[np.uint8]:
    """A picture of discs on a slope, size * 3 // 4 x size x 3: padding is part of the question."""
    height = size * 3 // 4
    y, x = np.mgrid[:height, :size].astype(np.float32) / size
    picture = 255 * np.stack([x, y, 1 - x], axis=-1)
    for centre_x, centre_y, radius, colour in (
        (0.30, 0.30, 0.15, (230, 40, 40)),
        (0.65, 0.45, 0.20, (30, 160, 60)),
        (0.60, 0.40, 0.06, (250, 250, 250)),
    ):
        picture[(x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2] = colour
    return picture.astype(np.uint8)


def _mask_inputs(side: int) -> npt.NDArray[np.float32]:
    """Logits of a cone around each of two discs, 2 x 1 x side x side."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    cones = [0.15 - np.hypot(x - 0.3, y - 0.3), 0.2 - np.hypot(x - 0.65, y - 0.45)]
    logits: npt.NDArray[np.float32] = 40 * np.stack(cones)[:, None].astype(np.float32)
    return logits
