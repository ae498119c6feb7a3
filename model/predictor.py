"""The predictor: images to embeddings, embeddings and prompts to masks. Holds no image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model import transforms
from model.engines import Engine, EngineName, Precision, load_engine
from model.mask_cleanup import honour, settle
from model.second_look import Look, Tile, tile_for
from model.types import FOREGROUND, PADDING, ImageEmbedding, MaskPrediction, Prompt
from model.weights import DEFAULT_MODEL_DIR, Checkpoint, identify

TOKEN_SIDE = 16  # pixels of the input frame


class Predictor:
    """Stateless: every call takes all it needs, so threads and images may share one predictor."""

    def __init__(self, engine: Engine, checkpoint: Checkpoint) -> None:
        self.engine = engine
        self.checkpoint = checkpoint

    def embed(self, image: npt.NDArray[np.uint8]) -> ImageEmbedding:
        """Run the image encoder.

        Args:
            image: H x W x 3 uint8 RGB, any size from 1 x 1.

        Raises:
            ValueError: the array has another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image must be H x W x 3 uint8, not {image.shape} {image.dtype}")
        resized = transforms.resize_image(image, self.engine.image_size)
        return ImageEmbedding(self.engine.encode(resized), (image.shape[0], image.shape[1]))

    def predict(self, embedding: ImageEmbedding, prompt: Prompt) -> MaskPrediction:
        """Predict the mask of one object.

        An ambiguous prompt (one positive click) gets the best of three masks by predicted IoU,
        any other the single mask, as SAM was trained.

        Args:
            embedding: made by this predictor.
            prompt: in pixels of the original image.
        """
        ((_, low_res_mask, iou_prediction),) = self._best_of(embedding, [prompt])
        return self._finish(embedding, low_res_mask, iou_prediction)

    def segment(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], look: Look | None = None
    ) -> list[MaskPrediction]:
        """Segment objects of one image as annotators expect it, in the order of their prompts.

        :meth:`predict` is the network's answer; here is all that is done around it. Clicks on one
        object were made one after the other, each to correct what was shown before it: they are
        replayed in their order, after the box where there is one, and the low-res mask of what
        came before goes into the network with the next click, as Segment Anything was trained to
        use it (Kirillov et al., ICCV 2023, appendix A). No state is kept between requests for
        that. Then the mask is cleaned up, see :mod:`model.mask_cleanup`. A small object is looked
        at once more in a tile of the image, see :mod:`model.second_look`; its answer counts unless
        it runs over the tile's border. ``training/README.md`` has what each of this is worth.

        Prompts of as many points, such as boxes, pass through the network together.

        Args:
            embedding: of the whole image, made by this predictor.
            prompts: in pixels of the image. One with a ``mask_input``, the low-res mask that was
                answered to its earlier clicks, needs no replay.
            look: embeds tiles of the image; None for no second look.

        Returns:
            Of each prompt its mask and the IoU expected of it; ``low_res_mask`` is always that of
            the whole image.
        """
        predictions = self._segment_once(embedding, prompts)
        if look is None:
            return predictions
        on_tiles: dict[Tile, list[int]] = {}
        for index, (first, prompt) in enumerate(zip(predictions, prompts, strict=True)):
            tile = tile_for(first, prompt, self.engine.image_size // TOKEN_SIDE)
            if tile is not None:
                on_tiles.setdefault(tile, []).append(index)
        for tile, indices in on_tiles.items():
            seen = look(tile)
            if seen is None:
                continue
            again = self._segment_once(seen, [tile.prompt(prompts[index]) for index in indices])
            for index, second in zip(indices, again, strict=True):
                if second.mask.any() and not tile.cuts(second.mask, embedding.original_size):
                    predictions[index] = replace(
                        predictions[index],
                        mask=tile.place(second.mask, embedding.original_size),
                        iou_prediction=second.iou_prediction,
                    )
        return predictions

    def _segment_once(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> list[MaskPrediction]:
        """Replay clicks and clean up, in one view of the image."""
        low_res_masks: dict[int, npt.NDArray[np.float32]] = {}
        for count in range(max((len(prompt.clicks) for prompt in prompts), default=0)):
            earlier = {
                index: replace(prompt.first(count), mask_input=low_res_masks.get(index))
                for index, prompt in enumerate(prompts)
                if _is_replayed(prompt, count)
            }
            for position, low_res_mask, _ in self._best_of(embedding, list(earlier.values())):
                low_res_masks[list(earlier)[position]] = low_res_mask
        last = [
            replace(prompt, mask_input=low_res_masks.get(index, prompt.mask_input))
            for index, prompt in enumerate(prompts)
        ]
        cleaned = {
            index: self._finish_cleanly(embedding, low_res_mask, iou_prediction, prompts[index])
            for index, low_res_mask, iou_prediction in self._best_of(embedding, last)
        }
        return [cleaned[index] for index in range(len(prompts))]

    def predict_masks(
        self, embedding: ImageEmbedding, prompt: Prompt, *, multimask_output: bool
    ) -> list[MaskPrediction]:
        """Predict all masks that the network offers for one object.

        Args:
            multimask_output: True for the three answers to an ambiguous prompt, in the
                network's order; False for the single mask.
        """
        low_res_masks, iou_predictions = self._decode(embedding, [prompt])
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return [
            self._finish(embedding, low_res_mask, float(iou_prediction))
            for low_res_mask, iou_prediction in zip(
                low_res_masks[0, chosen], iou_predictions[0, chosen], strict=True
            )
        ]

    def _best_of(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[int, npt.NDArray[np.float32], float]]:
        """Of each prompt its index, the low-res mask that answers it best, and the IoU expected.

        The choice is made before anything is upsampled.
        """
        for indices in _alike(prompts):
            decoded = self._decode(embedding, [prompts[index] for index in indices])
            for index, low_res_masks, iou_predictions in zip(indices, *decoded, strict=True):
                best = 0
                if prompts[index].is_ambiguous:
                    best = 1 + int(iou_predictions[1:].argmax())
                yield index, low_res_masks[best], float(iou_predictions[best])

    def _decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Low-res masks, B x 4 x S/4 x S/4, and IoU, B x 4, of prompts that are alike."""
        coords = transforms.points_to_input_frame(
            np.stack([prompt.point_coords for prompt in prompts]),
            embedding.original_size,
            self.engine.image_size,
        )
        labels = np.stack([prompt.point_labels for prompt in prompts])
        if not prompts[0].has_box:  # SAM was trained with a padding point in the place of a box
            coords = np.pad(coords, [(0, 0), (0, 1), (0, 0)])
            labels = np.pad(labels, [(0, 0), (0, 1)], constant_values=PADDING)
        masks = [prompt.mask_input for prompt in prompts if prompt.mask_input is not None]
        mask_inputs = np.stack(masks)[:, None] if masks else None
        return self.engine.decode(embedding.features, coords, labels, mask_inputs)

    def _finish(
        self,
        embedding: ImageEmbedding,
        low_res_mask: npt.NDArray[np.float32],
        iou_prediction: float,
    ) -> MaskPrediction:
        frame = self._upsample(embedding, low_res_mask)
        mask = transforms.upsample_to_original(frame, embedding.original_size)
        return MaskPrediction(mask, low_res_mask, iou_prediction)

    def _finish_cleanly(
        self,
        embedding: ImageEmbedding,
        low_res_mask: npt.NDArray[np.float32],
        iou_prediction: float,
        prompt: Prompt,
    ) -> MaskPrediction:
        """The same, cleaned up. Parts and holes are found in the input frame, which has them all.

        The original image may have ten times as many pixels to go through.
        """
        frame = self._upsample(embedding, low_res_mask)
        positive = frame > 0
        coords = transforms.points_to_input_frame(
            prompt.point_coords, embedding.original_size, self.engine.image_size
        )
        settled = settle(positive, replace(prompt, point_coords=coords))
        np.negative(frame, out=frame, where=settled != positive)
        mask = transforms.upsample_to_original(frame, embedding.original_size)
        if positive.any():  # where the network sees nothing, a click alone is no object
            honour(mask, prompt)
        return MaskPrediction(mask, low_res_mask, iou_prediction)

    def _upsample(
        self, embedding: ImageEmbedding, low_res_mask: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        return transforms.upsample_to_frame(
            low_res_mask, embedding.original_size, self.engine.image_size
        )


def _is_replayed(prompt: Prompt, count: int) -> bool:
    """Whether the first ``count`` clicks of a prompt have had an answer before the others came.

    A box has one without any click; clicks beside the object, as long as there is neither a box
    nor a click on it, point out nothing.
    """
    return (
        len(prompt.clicks) > count
        and prompt.mask_input is None
        and (prompt.has_box or FOREGROUND in prompt.clicks[:count])
    )


def _alike(prompts: Sequence[Prompt]) -> list[list[int]]:
    """The indices of prompts, those together that fit into one array.

    Shorter prompts are not padded to the length of others: a padding point changes the mask.
    """
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for index, prompt in enumerate(prompts):
        key = len(prompt.point_labels), prompt.has_box, prompt.mask_input is not None
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def load_predictor(
    checkpoint: str | Path,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    model_dir: Path = DEFAULT_MODEL_DIR,
) -> Predictor:
    """Load a checkpoint file.

    Args:
        checkpoint: the published ``mobile_sam.pt``, one trained from it in the same format, or
            a file of this project's training. ``model.weights.find`` names one.
        engine: ``auto``, ``openvino`` or ``torch``; see :func:`model.engines.load_engine`.
        precision: of the encoder: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        model_dir: a folder that can be written to, for what OpenVINO needs of the checkpoint. It
            is made once, which takes a minute.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: ``model_dir`` cannot be written to.
        ValueError: it is no checkpoint, or engine or precision are unknown or not to be had.
    """
    identified = identify(Path(checkpoint))
    return Predictor(load_engine(identified, engine, precision, model_dir / "openvino"), identified)
