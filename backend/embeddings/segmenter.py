"""Embeds images and predicts masks. A process has one segmenter for each team."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from backend import metrics
from backend.embeddings.encoder_queue import EncoderQueue
from backend.embeddings.mask_inputs import MaskInputCache
from backend.embeddings.priority import Demand, Priority
from backend.embeddings.recent_images import RecentImages
from backend.embeddings.store import EmbeddingStore
from backend.images.errors import ImageError
from backend.images.freshness import ImageWatch
from backend.images.image_ref import ImageRef
from backend.images.loading import ImageLoader
from backend.images.validator import Validator
from model import interactive
from model.crops import Crop
from model.everything import EverythingSettings, segment_everything
from model.predictor import Predictor
from model.types import ImageEmbedding, MaskPrediction, Prompt

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]

_DECODED_BYTES = 100 << 20  # of an image that is kept while its crops are embedded


@dataclass(frozen=True)
class SharedByTeams:
    """What the segmenters of a process share beside the store.

    Attributes:
        encoder: images of all teams wait in one queue.
        recent_images, mask_inputs: have one limit of memory for all teams. A key of an image names
            its team, and a mask belongs to an embedding.
    """

    encoder: EncoderQueue
    recent_images: RecentImages
    mask_inputs: MaskInputCache

    @classmethod
    def of(cls, predictor: Predictor) -> SharedByTeams:
        """For the segmenters of a model."""
        encoder = EncoderQueue(predictor.embed_batch, predictor.engine.encode_batch)
        return cls(encoder, RecentImages(), MaskInputCache())


class Segmenter:
    """Embeds images and predicts masks. Threads may share a segmenter.

    Args:
        predictor: the loaded model.
        store: where embeddings are kept.
        images: loads the images.
        watch: finds out that an image was replaced, and who may see an image.
        team: names the embeddings of this segmenter, so that no other team finds them. The same URL
            may be another picture there.
        shared: what the segmenters of a process share; None for a segmenter that is alone.
    """

    def __init__(
        self,
        predictor: Predictor,
        store: EmbeddingStore,
        images: ImageLoader,
        watch: ImageWatch,
        *,
        team: str = "",
        shared: SharedByTeams | None = None,
    ) -> None:
        shared = shared or SharedByTeams.of(predictor)
        self._predictor = predictor
        self._store = store
        self._images = images
        self._watch = watch
        self._team = team
        self._recent_images = shared.recent_images
        self._mask_inputs = shared.mask_inputs
        self._encoder = shared.encoder
        self._model_version = predictor.checkpoint.model_version

    def with_decoder(self, predictor: Predictor, model_version: str) -> Segmenter:
        """A segmenter that answers with the decoder of a project, from the same embeddings.

        Args:
            predictor: has the decoder, and shares the image encoder with this segmenter.
            model_version: the name of the decoder.
        """
        other = copy(self)
        other._predictor, other._model_version = predictor, model_version
        return other

    @property
    def predictor(self) -> Predictor:
        """The loaded model, which makes all embeddings."""
        return self._predictor

    @property
    def model_version(self) -> str:
        """The name of the weights, as Label Studio shows it."""
        return self._model_version

    @property
    def encode_batch(self) -> int:
        """How many images at once keep the device busy."""
        return self._predictor.engine.encode_batch

    @property
    def engine(self) -> str:
        """Engine, device and precision that run the network."""
        return self._predictor.engine.description

    def measure(self) -> tuple[float, float]:
        """Measure: seconds for encoding a 1080p image, and seconds for one click on it."""
        image = np.zeros((1080, 1920, 3), dtype=np.uint8)
        begun = time.perf_counter()
        embedding = self._predictor.embed(image)
        embedded = time.perf_counter()
        self._predictor.predict(embedding, Prompt.from_points([(960, 540)]))
        return embedded - begun, time.perf_counter() - embedded

    def embed(
        self,
        ref: ImageRef,
        *,
        reported_size: tuple[int, int] | None = None,
        priority: Priority = Priority.CLICK,
    ) -> ImageEmbedding:
        """The embedding of an image. It is encoded now if the store does not have it.

        Args:
            ref: the image.
            reported_size: (H, W) of the image that the annotator sees, in pixels, or None where
                the request does not say. If the kept embedding has another size, it is of another
                picture, and the image is encoded again.
            priority: how urgent the embedding is.

        Raises:
            ImageError: the image is not available to the task, or its size differs from
                ``reported_size``.
        """
        if not self._watch.has_proof(ref):
            with self._store.waiting(self._key(ref.key), priority, self._team):
                self._watch.prove_access(ref)
        find_or_encode = partial(
            self._store.get_or_compute,
            self._key(ref.key),
            partial(self._encode_image, ref, reported_size),
            task=self._task(ref.task_id),
            expected_size=reported_size,
            priority=priority,
            team=self._team,
        )
        embedding = find_or_encode()
        if self._is_stale(ref, embedding, priority):
            logger.info("%s: the image was replaced, so the image is encoded again", ref)
            self._store.drop_version(self._key(ref.key), embedding.image_version)
            embedding = find_or_encode()
        if reported_size not in (None, embedding.original_size):
            shown, found = reported_size, embedding.original_size
            raise ImageError(
                f"the editor shows an image of {shown[1]} x {shown[0]}, and the image fetched here"
                f" has {found[1]} x {found[0]}: reload the page"
            )
        return embedding

    def segment(
        self,
        ref: ImageRef,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        *,
        refine: bool = True,
    ) -> list[MaskPrediction]:
        """Predict the masks of objects in one image. An annotator waits for them.

        Args:
            ref: the image.
            embedding: the embedding of the image.
            prompts: one for each object, in pixels of the image.
            refine: whether a small object is predicted again in a crop of the image. The first
                prediction in a crop takes another encode.

        Returns:
            One prediction for each prompt, in the order of the prompts.
        """
        embed_crop = partial(self.embed_crop, ref, embedding, Priority.CLICK) if refine else None
        return interactive.segment(
            self._predictor,
            embedding,
            prompts,
            embed_crop=embed_crop,
            mask_inputs=self._mask_inputs.of(self._predictor),
        )

    def segment_boxes(
        self,
        ref: ImageRef,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        *,
        refine: bool = True,
        priority: Priority = Priority.REST,
    ) -> Iterator[tuple[int, MaskPrediction]]:
        """Predict the masks of many boxes in one image. Nobody has clicked.

        Args:
            ref: the image.
            embedding: the embedding of the image.
            prompts: one box for each object, in pixels of the image.
            refine: whether small objects are predicted in crops. The crops are not kept: only
                the next click on an object needs the same crop.
            priority: how urgent the masks are.

        Returns:
            A prediction for each box, with the index of the box.
        """
        embed_crop = self._crop_embedder(ref, embedding, priority) if refine else None
        return interactive.segment_boxes(self._predictor, embedding, prompts, embed_crop=embed_crop)

    def segment_everything(
        self,
        ref: ImageRef,
        embedding: ImageEmbedding,
        settings: EverythingSettings,
        priority: Priority = Priority.REST,
    ) -> Iterator[MaskPrediction]:
        """Predict the masks of all objects in one image, the largest first.

        Args:
            ref: the image.
            embedding: the embedding of the image.
            settings: what counts as an object.
            priority: how urgent the masks are.
        """
        embed_crop = self._crop_embedder(ref, embedding, priority)
        return segment_everything(self._predictor, embedding, settings, embed_crop)

    def embed_crop(
        self, ref: ImageRef, whole: ImageEmbedding, priority: Priority, crop: Crop
    ) -> ImageEmbedding | None:
        """The embedding of a crop, or None where the image is no longer available.

        Args:
            ref: the image.
            whole: the embedding of the whole image.
            priority: how urgent the embedding is. That of a click is kept.
            crop: the part of the image.
        """
        try:
            if priority is Priority.CLICK:
                return self._kept_crop(ref, whole, crop)
            return self._encode_crop(ref, whole, crop, Demand(priority))
        except ImageError as error:
            _note_unrefined(ref, error)
            return None

    def _is_stale(self, ref: ImageRef, embedding: ImageEmbedding, priority: Priority) -> bool:
        version = Validator.parse(embedding.image_version)
        return self._watch.is_stale(ref, version, waits=priority is not Priority.CLICK)

    def has(self, ref: ImageRef) -> bool:
        """Whether a tier, which outlives this process, keeps the embedding of an image."""
        return self._store.has(self._key(ref.key))

    def forget_task(self, task_id: int) -> None:
        """Remove the embeddings of a deleted task."""
        self._store.forget_task(f"{self._prefix}{task_id}")

    def _crop_embedder(
        self, ref: ImageRef, whole: ImageEmbedding, priority: Priority
    ) -> interactive.EmbedCrop:
        """Embeds crops of an image that nobody has clicked on.

        The crops are not kept. The image is decoded once, unless it is very large.
        """
        decoded: list[Pixels] = []

        def embed_crop(crop: Crop) -> ImageEmbedding | None:
            begun = time.perf_counter()
            try:
                image = decoded[0] if decoded else self._whole(ref, whole)
                if image.size <= _DECODED_BYTES and not decoded:
                    decoded.append(image)
                pixels = crop.cut(image)
                load_s = time.perf_counter() - begun
                return self._encode_cut(pixels, crop, Demand(priority), load_s)
            except ImageError as error:
                _note_unrefined(ref, error)
                return None

        return embed_crop

    def _kept_crop(self, ref: ImageRef, whole: ImageEmbedding, crop: Crop) -> ImageEmbedding:
        """The embedding of a crop, from the store if the store has it."""
        height, width = whole.original_size
        place = f"{crop.left}-{crop.top}-{crop.width}x{crop.height}-of-{width}x{height}"
        # A hash, because keys are names of files and the version may come from another host.
        version = Validator.parse(whole.image_version).sha256
        content = hashlib.sha256(version.encode()).hexdigest()[:16]
        return self._store.get_or_compute(
            self._key(f"{place}-{content}-{ref.key}"),
            partial(self._encode_crop, ref, whole, crop),
            task=self._task(ref.task_id),
            expected_size=crop.size,
            priority=Priority.CLICK,
            team=self._team,
        )

    def _encode_image(
        self, ref: ImageRef, reported_size: tuple[int, int] | None, demand: Demand
    ) -> ImageEmbedding:
        begun = time.perf_counter()
        loaded = self._images.load(ref)
        self._watch.note(ref, loaded.validator)
        # Scaled before the wait for the encoder: many waiting images must not fill the memory.
        scaled = loaded.scaled(self._predictor.engine.image_size, reported_size)
        load_s = time.perf_counter() - begun
        if demand.priority is Priority.CLICK:  # the object may be small, which needs a crop
            self._recent_images.keep(f"{self._key(ref.key)} {loaded.validator}", loaded)
        embedding = self._encode(scaled.image, scaled.original_size, demand, load_s)
        metrics.ENCODES.inc()
        return replace(embedding, image_version=str(loaded.validator))

    def _encode_crop(
        self, ref: ImageRef, whole: ImageEmbedding, crop: Crop, demand: Demand
    ) -> ImageEmbedding:
        begun = time.perf_counter()
        pixels = crop.cut(self._whole(ref, whole))
        return self._encode_cut(pixels, crop, demand, time.perf_counter() - begun)

    def _encode_cut(
        self, pixels: Pixels, crop: Crop, demand: Demand, load_s: float
    ) -> ImageEmbedding:
        embedding = self._encode(pixels, crop.size, demand, load_s)
        metrics.CROP_ENCODES.inc()
        return embedding

    def _whole(self, ref: ImageRef, whole: ImageEmbedding) -> Pixels:
        """The image of an embedding in full, H x W x 3 uint8 RGB."""
        name = f"{self._key(ref.key)} {whole.image_version}"
        loaded = self._recent_images.get(name)
        if loaded is None:
            loaded = self._images.load(ref)
            if loaded.validator.is_same_file(Validator.parse(whole.image_version)) is False:
                raise ImageError("the image was replaced after it was encoded")
            self._recent_images.keep(name, loaded)
        image = loaded.whole(whole.original_size)
        if image.shape[:2] != whole.original_size:
            raise ImageError("the image was replaced after it was encoded")
        return image

    def _encode(
        self, image: Pixels, original_size: tuple[int, int], demand: Demand, load_s: float
    ) -> ImageEmbedding:
        encoded = self._encoder.encode(image, original_size, demand)
        metrics.FETCH_SECONDS.observe(load_s)
        metrics.ENCODER_WAIT_SECONDS.observe(encoded.wait_s)
        metrics.ENCODE_SECONDS.observe(encoded.encode_s)
        logger.info(
            "encoded an image of %d x %d: load %.0f ms, wait %.0f ms, encode %.0f ms",
            original_size[1],
            original_size[0],
            load_s * 1000,
            encoded.wait_s * 1000,
            encoded.encode_s * 1000,
        )
        return encoded.embedding

    def _key(self, name: str) -> str:
        """The key in the store. It names the weights and the team: others do not find it."""
        return f"{self._predictor.checkpoint.fingerprint[:16]}-{self._prefix}{name}"

    def _task(self, task_id: int | None) -> str | None:
        """The name of a task in the store."""
        return None if task_id is None else f"{self._prefix}{task_id}"

    @property
    def _prefix(self) -> str:
        """The team in keys and in names of tasks. No other part of a key has a dot."""
        return f"{self._team}." if self._team else ""


def _note_unrefined(ref: ImageRef, error: ImageError) -> None:
    logger.warning("%s: a small object was not refined in a crop: %s", ref, error)
