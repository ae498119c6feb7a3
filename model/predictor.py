"""Runs the network: an image to its embedding, an embedding and prompts to masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model import reference, transforms
from model.checkpoint import Arrays
from model.engines import Engine, EngineName, Precision, load_engine
from model.types import (
    FOREGROUND,
    PADDING,
    Choose,
    DecoderInputs,
    DecoderOutputs,
    ImageEmbedding,
    LowResPrediction,
    MaskPrediction,
    Prompt,
    single_masks,
)
from model.weights import DEFAULT_MODEL_DIR, Checkpoint, expanded, identify

# How many prompts pass through the network together. Each takes 35 MB in the decoder of the
# published network, and on a CPU larger batches are no faster for each prompt.
MAX_BATCH = 8


class Predictor:
    """Embeds images and predicts masks. Threads may share a predictor.

    A predictor keeps nothing between calls: there is no current image.

    Args:
        engine: runs the network.
        checkpoint: which weights the engine has loaded.
    """

    def __init__(self, engine: Engine, checkpoint: Checkpoint) -> None:
        self.engine = engine
        self.checkpoint = checkpoint

    @property
    def features_shape(self) -> tuple[int, int, int, int]:
        """The shape of an embedding's features, (1, C, S/16, S/16)."""
        tokens = self.engine.image_size // transforms.TOKEN_STRIDE
        return 1, self.engine.embedding_width, tokens, tokens

    def with_decoder(self, arrays: Arrays) -> Predictor:
        """A predictor with a learnt decoder, for the embeddings of this predictor.

        Args:
            arrays: every tensor of :func:`model.architecture.decoder_shapes`.

        Raises:
            ValueError: the tensors do not fit the network, or its answers are not finite.
        """
        engine = self.engine.with_decoder(arrays)
        reference.check_finite(engine, self.features_shape)
        return Predictor(engine, self.checkpoint)

    def embed(
        self, image: npt.NDArray[np.uint8], original_size: tuple[int, int] | None = None
    ) -> ImageEmbedding:
        """Run the image encoder.

        Args:
            image: H x W x 3 uint8 RGB, of any size from 1 x 1 on.
            original_size: (H, W) of the original image, where ``image`` is a smaller copy of it.

        Returns:
            The embedding, with features of the engine's type, float32.

        Raises:
            ValueError: the array has another shape or type.
        """
        size = original_size or (image.shape[0], image.shape[1])
        (embedding,) = self.embed_batch([image], [size])
        return embedding

    def embed_batch(
        self, images: Sequence[npt.NDArray[np.uint8]], original_sizes: Sequence[tuple[int, int]]
    ) -> list[ImageEmbedding]:
        """Run the image encoder on several images together, which is faster on a GPU.

        Args:
            images: at least one, each as :meth:`embed` takes it. Sizes may differ.
            original_sizes: (H, W) of each original image.

        Returns:
            One embedding for each image, in their order.

        Raises:
            ValueError: an array has another shape or type.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise ValueError(f"image must be H x W x 3 uint8, not {image.shape} {image.dtype}")
        features = self.engine.encode(images)
        return [
            ImageEmbedding(features[index : index + 1], size)
            for index, size in enumerate(original_sizes)
        ]

    def predict(self, embedding: ImageEmbedding, prompt: Prompt) -> MaskPrediction:
        """Predict the mask of one object.

        Args:
            embedding: the embedding of the image, made by this predictor.
            prompt: in pixels of the original image.
        """
        (answer,) = self.predict_low_res(embedding, [prompt])
        return self._upsampled(embedding, answer)

    def predict_low_res(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> list[LowResPrediction]:
        """Predict the masks of objects at the size of the network's answer, S/4 x S/4.

        An ambiguous prompt (one positive click) gets the mask with the highest predicted IoU of
        three. Any other prompt gets the single mask. SAM was trained in this way. Prompts with the
        same number of points pass through the network together, up to ``MAX_BATCH`` of them.

        Args:
            embedding: the embedding of the image, made by this predictor.
            prompts: one for each object, in pixels of the original image.

        Returns:
            One prediction for each prompt, in the order of the prompts.
        """
        best: dict[int, LowResPrediction] = {}
        for indices in _alike(prompts):
            group = [prompts[index] for index in indices]
            choose = partial(_best_answers, group)
            low_res_masks, iou_predictions = self._decode(embedding, group, choose)
            answers = choose(iou_predictions)
            for row, (index, answer) in enumerate(zip(indices, answers, strict=True)):
                best[index] = LowResPrediction(
                    low_res_masks[row, 0], float(iou_predictions[row, answer])
                )
        return [best[index] for index in range(len(prompts))]

    def predict_masks(
        self, embedding: ImageEmbedding, prompt: Prompt, *, multimask_output: bool
    ) -> list[MaskPrediction]:
        """Predict every mask that the network has for one object.

        Args:
            embedding: the embedding of the image, made by this predictor.
            prompt: in pixels of the original image.
            multimask_output: True for the three answers to an ambiguous prompt, in the
                network's order. False for the single mask.
        """
        if multimask_output:
            low_res_masks, ious = (a[0, 1:] for a in self._decode(embedding, [prompt]))
        else:
            answers = self._decode(embedding, [prompt], single_masks)
            low_res_masks, ious = (a[0, :1] for a in answers)
        return [
            self._upsampled(embedding, LowResPrediction(low_res_mask, float(iou_prediction)))
            for low_res_mask, iou_prediction in zip(low_res_masks, ious, strict=True)
        ]

    def find_masks(
        self, embedding: ImageEmbedding, points: npt.NDArray[np.float32], iou_thresh: float
    ) -> Iterator[DecoderOutputs]:
        """All masks that single clicks find, of which the network is confident.

        Each click is ambiguous: it may find an object, a part and a subpart.

        Args:
            embedding: the embedding of the image, made by this predictor.
            points: N x 2, (x, y) in pixels of the original image.
            iou_thresh: the lowest predicted IoU of a mask.

        Yields:
            For each ``MAX_BATCH`` points: low_res_masks, K x h x w logits, the cells that show the
            image; and iou_predictions, K.
        """
        height, width = transforms.low_res_size(embedding.original_size, self.engine.image_size)
        coords = transforms.points_to_input_frame(
            points, embedding.original_size, self.engine.image_size
        )
        coords = np.stack([coords, np.zeros_like(coords)], axis=1)  # SAM wants a padding point
        labels = np.tile(np.array([FOREGROUND, PADDING]), (len(points), 1))
        for begin in range(0, len(points), MAX_BATCH):
            batch = slice(begin, begin + MAX_BATCH)
            inputs = DecoderInputs(embedding.features, coords[batch], labels[batch])
            low_res_masks, iou_predictions = self.engine.find_masks(inputs, iou_thresh, height)
            yield low_res_masks[:, :, :width], iou_predictions

    def _decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], choose: Choose | None = None
    ) -> DecoderOutputs:
        """What ``Engine.decode`` gives for prompts that fit into one array."""
        coords = transforms.points_to_input_frame(
            np.stack([prompt.point_coords for prompt in prompts]),
            embedding.original_size,
            self.engine.image_size,
        )
        labels = np.stack([prompt.point_labels for prompt in prompts])
        if not prompts[0].has_box:  # SAM was trained with a padding point where there is no box
            count = len(prompts)
            coords = np.concatenate([coords, np.zeros((count, 1, 2), coords.dtype)], axis=1)
            labels = np.concatenate([labels, np.full((count, 1), PADDING)], axis=1)
        masks = [prompt.mask_input for prompt in prompts if prompt.mask_input is not None]
        mask_inputs = np.stack(masks)[:, None] if masks else None
        inputs = DecoderInputs(embedding.features, coords, labels, mask_inputs)
        return self.engine.decode(inputs, choose)

    def _upsampled(self, embedding: ImageEmbedding, answer: LowResPrediction) -> MaskPrediction:
        frame = transforms.upsample_to_frame(
            answer.low_res_mask, embedding.original_size, self.engine.image_size
        )
        mask = transforms.upsample_to_original(frame, embedding.original_size)
        return MaskPrediction(mask, answer.low_res_mask, answer.iou_prediction)


def _best_answers(
    prompts: Sequence[Prompt], iou_predictions: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """The best of three for an ambiguous prompt, else the single mask."""
    is_ambiguous = [prompt.is_ambiguous for prompt in prompts]
    best: npt.NDArray[np.int64] = np.where(is_ambiguous, 1 + iou_predictions[:, 1:].argmax(1), 0)
    return best


def _alike(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Groups of at most ``MAX_BATCH`` indices: the prompts of a group fit into one array.

    Short prompts are not padded to the length of longer prompts: a padding point changes the mask.
    """
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for index, prompt in enumerate(prompts):
        key = len(prompt.point_labels), prompt.has_box, prompt.mask_input is not None
        groups.setdefault(key, []).append(index)
    return [
        group[begin : begin + MAX_BATCH]
        for group in groups.values()
        for begin in range(0, len(group), MAX_BATCH)
    ]


def load_predictor(
    checkpoint: str | Path,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    model_dir: Path = DEFAULT_MODEL_DIR,
) -> Predictor:
    """Load a checkpoint file.

    Args:
        checkpoint: the published ``mobile_sam.pt``, a file of the same format that was trained
            from it, or a file of this project's training. ``model.weights.find`` finds a file.
        engine: ``auto``, ``openvino`` or ``torch``; see :func:`model.engines.load_engine`.
        precision: of the encoder: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        model_dir: a folder for what OpenVINO makes of the checkpoint, which saves later starts a
            second or two. It need not be there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, or this machine does not have the engine or the
            precision, or their names are unknown.
    """
    identified = identify(Path(checkpoint))
    answers = expanded(model_dir)
    return Predictor(load_engine(identified, engine, precision, answers), identified)
