"""MobileSAM as a Python API: images and prompts as people write them, results to read and save.

    from model import MobileSAM

    sam = MobileSAM()
    for result in sam("photos", bboxes=[[280, 80, 520, 320]]):
        result.save("overlay.png")

    image = sam.open("photo.jpg")  # encodes once
    image.segment(points=[420, 310]).masks
    image.segment(points=[[[420, 310], [100, 80]]], labels=[[1, 0]]).polygons

``docs/ultralytics.md`` says what the calls of Ultralytics' MobileSAM are called here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model import interactive, prompts, sources, weights
from model.checkpoint import read_parameters
from model.crops import Crop
from model.engines import EngineName, Precision
from model.everything import EverythingSettings, segment_everything
from model.interactive import EmbedCrop
from model.predictor import Predictor, load_predictor
from model.prompts import Numbers
from model.results import Results
from model.sources import AnySource
from model.transforms import LOW_RES_STRIDE
from model.types import ImageEmbedding, MaskPrediction, Prompt
from model.weights import DEFAULT_MODEL_DIR

# Objects whose full-size masks are in memory at the same time.
_OBJECTS_AT_ONCE = 32
# Crops of one image whose embeddings are kept, 4 MB each with the published network.
_CROPS_KEPT = 16


@dataclass(frozen=True)
class Info:
    """What is loaded.

    Attributes:
        weights: the name of the weights: ``mobile-sam`` for the published checkpoint.
        checkpoint: the file.
        parameters: how many numbers the network has learnt.
        image_size: S, the side of the square that the network sees, pixels.
        engine: what runs the network.
    """

    weights: str
    checkpoint: Path
    parameters: int
    image_size: int
    engine: str


class MobileSAM:
    """A loaded checkpoint. Threads may share it.

    Args:
        checkpoint: the checkpoint file. None for the published weights, which are downloaded at
            the first use; where that is impossible, the built-in weights serve, and a warning in
            the log says so.
        engine: ``auto``, ``openvino`` or ``torch``.
        precision: of the encoder: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        model_dir: the folder of the published checkpoint and of the compiled network.
        crop_refinement: whether a small object is predicted again in a crop of the image. The mask
            is better, and each crop costs as much time as an image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, or this machine does not have the engine.
    """

    def __init__(
        self,
        checkpoint: str | PathLike[str] | None = None,
        *,
        engine: EngineName = "auto",
        precision: Precision = "auto",
        model_dir: Path = DEFAULT_MODEL_DIR,
        crop_refinement: bool = True,
    ) -> None:
        asked = None if checkpoint is None else Path(checkpoint)
        found = weights.obtain(asked, weights.expanded(model_dir))
        self.predictor = load_predictor(found.path, engine, precision, model_dir)
        self.crop_refinement = crop_refinement

    def __call__(
        self,
        source: AnySource,
        *,
        points: Numbers | None = None,
        labels: Numbers | int | None = None,
        bboxes: Numbers | None = None,
        masks: Numbers | None = None,
        everything: EverythingSettings | None = None,
    ) -> Iterator[Results]:
        """Segment images, all of them with the same prompts.

        Args:
            source: see :func:`model.sources.resolve`. Arrays are RGB.
            points, labels, bboxes, masks, everything: see :meth:`OpenedImage.segment`.

        Returns:
            The results, one for each image. An image is read when its result is asked for, so a
            folder may be larger than the memory.

        Raises:
            ValueError: there is no image, or the prompts do not fit together. While the results
                are read: an image cannot be read, or a prompt lies outside an image.
            OSError: while the results are read: a file is not there, or a server does not answer.
        """
        found = sources.resolve(source)
        _parsed(points, labels, bboxes, masks, everything)  # mistakes show before the first image
        return (
            self.open(one).segment(
                points=points, labels=labels, bboxes=bboxes, masks=masks, everything=everything
            )
            for one in found
        )

    def open(self, source: AnySource | sources.Source) -> OpenedImage:
        """Read and encode one image, for any number of prompts.

        Raises:
            ValueError: the source is no single image, or the image cannot be read.
            OSError: the file is not there, or the server does not answer.
        """
        if not isinstance(source, sources.Source):
            found = sources.resolve(source)
            if len(found) > 1:
                raise ValueError(f"open() takes one image, and the source has {len(found)}")
            source = found[0]
        return OpenedImage(self.predictor, source.read(), source.path, self.crop_refinement)

    def info(self) -> Info:
        """Say what is loaded."""
        checkpoint, engine = self.predictor.checkpoint, self.predictor.engine
        return Info(
            checkpoint.model_version,
            checkpoint.path,
            sum(array.size for array in read_parameters(checkpoint.path).arrays.values()),
            engine.image_size,
            engine.description,
        )


class OpenedImage:
    """An image with its embedding. Threads may share it.

    Args:
        predictor: the loaded model.
        image: H x W x 3 uint8 RGB.
        path: where the image comes from, None for an array.
        crop_refinement: see :class:`MobileSAM`.

    Attributes:
        image: the array.
        path: as given.
        embedding: the output of the image encoder.
    """

    def __init__(
        self,
        predictor: Predictor,
        image: npt.NDArray[np.uint8],
        path: str | None = None,
        crop_refinement: bool = True,
    ) -> None:
        self.image = image
        self.path = path
        self.embedding: ImageEmbedding = predictor.embed(image)
        self._predictor = predictor
        self._crop_refinement = crop_refinement

        # Without a reference to self: the image is to be freed as soon as nobody needs it.
        def embed_crop(crop: Crop) -> ImageEmbedding:
            return predictor.embed(crop.cut(image))

        self._embed_crop: EmbedCrop = lru_cache(_CROPS_KEPT)(embed_crop)

    def segment(
        self,
        *,
        points: Numbers | None = None,
        labels: Numbers | int | None = None,
        bboxes: Numbers | None = None,
        masks: Numbers | None = None,
        everything: EverythingSettings | None = None,
    ) -> Results:
        """Segment objects, or everything where no prompt is given.

        Args:
            points, labels, bboxes, masks: see :func:`model.prompts.parse`.
            everything: what counts as an object where no prompt is given.

        Returns:
            The results, one mask for each object in the order of the prompts. Without a prompt,
            the masks of everything, the largest first.

        Raises:
            ValueError: the prompts do not fit together or lie outside the image.
        """
        parsed = _parsed(points, labels, bboxes, masks, everything)
        low_res = self._predictor.engine.image_size // LOW_RES_STRIDE
        if parsed is None:
            found = segment_everything(
                self._predictor,
                self.embedding,
                everything or EverythingSettings(),
                self._embed_crop,
            )
            return Results.of(self.image, self.path, found, low_res=low_res)
        placed = prompts.place(parsed, self.embedding.original_size, low_res)
        return Results.of(self.image, self.path, self._predict(placed), placed, low_res=low_res)

    def _predict(self, placed: Sequence[Prompt]) -> Iterator[MaskPrediction]:
        # In a crop, nothing is left of a prompt that is a mask alone.
        has_points = all(prompt.has_box or len(prompt.clicks) for prompt in placed)
        embed_crop: EmbedCrop | None = None
        if self._crop_refinement and has_points:
            embed_crop = self._embed_crop
        for begin in range(0, len(placed), _OBJECTS_AT_ONCE):
            yield from interactive.segment(
                self._predictor,
                self.embedding,
                placed[begin : begin + _OBJECTS_AT_ONCE],
                embed_crop=embed_crop,
            )


def _parsed(
    points: Numbers | None,
    labels: Numbers | int | None,
    bboxes: Numbers | None,
    masks: Numbers | None,
    everything: EverythingSettings | None,
) -> list[Prompt] | None:
    parsed = prompts.parse(points, labels, bboxes, masks)
    if parsed is not None and everything is not None:
        raise ValueError("everything goes with no prompt: leave points, bboxes and masks out")
    return parsed
