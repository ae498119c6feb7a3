"""Embeds whole projects before the annotators come, in this process or on RQ workers."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from tqdm import tqdm

from backend.embeddings.priority import Priority
from backend.images.errors import ImageError
from backend.images.formats import SUFFIXES
from backend.images.image_ref import ImageRef
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service
from backend.settings import Settings
from model.engines import OutOfDeviceMemoryError

QUEUE_NAME = "mobile-sam"
_LOADS_AT_ONCE = 4  # images that are loaded while another batch is encoded, at least
_IMAGES_A_JOB = 50  # an RQ worker loads the model for each job
_JOB_TIMEOUT_S = 3600
_JOBS_AHEAD = 200
_POLL_S = 0.5


@dataclass(frozen=True)
class Failure:
    """An image that could not be embedded, and why."""

    name: str
    reason: str


def images_of_tasks(
    tasks: Iterable[dict[str, Any]], config: LabelingConfig, failures: list[Failure]
) -> Iterator[ImageRef]:
    """Every image that the tasks show. A task without an image is added to ``failures``."""
    for task in tasks:
        try:
            yield from config.image_refs(task)
        except UnanswerableRequestError as error:
            failures.append(Failure(f"task {task.get('id')}", str(error)))


def images_of_folder(folder: Path, url_prefix: str) -> Iterator[ImageRef]:
    """Every image file below a folder. The URL is the prefix and the path below the folder."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            name = os.fsencode(path.relative_to(folder).as_posix())
            yield ImageRef(url_prefix + quote(name), path=path)  # "#" and "+" mean other things


def embed_here(
    service: Service, images: Iterable[ImageRef], total: int | None, failures: list[Failure]
) -> None:
    """Embed images in this process, with a progress bar. Images with an embedding are skipped.

    Args:
        service: loads, embeds and keeps the images.
        images: the images.
        total: how many images there are, or None where that is not known.
        failures: images that could not be embedded are added to it.
    """
    with tqdm(total=total, unit="image", desc="embedding") as progress:
        for failure in _embed_all(service, images):
            failures += [failure] if failure else []
            progress.update()


def embed_on_workers(
    redis_url: str, images: Iterable[ImageRef], total: int | None, failures: list[Failure]
) -> None:
    """Let RQ workers embed images, and show their progress until all jobs are done.

    Args:
        redis_url: the Redis of the queue.
        images, total, failures: as in :func:`embed_here`.
    """
    queue = Queue(QUEUE_NAME, connection=Redis.from_url(redis_url))
    remaining = iter(images)
    running: list[tuple[Job, int]] = []
    with tqdm(total=total, unit="image", desc="embedding on workers") as progress:
        while True:
            # Only as many jobs as workers need: a million images would fill Redis.
            while len(running) < _JOBS_AHEAD:
                batch = list(itertools.islice(remaining, _IMAGES_A_JOB))
                if not batch:
                    break
                arguments = [(image.url, image.task_id) for image in batch]
                job = queue.enqueue(embed_job, arguments, job_timeout=_JOB_TIMEOUT_S)
                running.append((job, len(batch)))
            if not running:
                return
            unfinished = []
            for job, count in running:
                found = _failures_of(job, count)
                if found is None:
                    unfinished.append((job, count))
                    continue
                failures += found
                progress.update(count)
            if len(unfinished) == len(running):
                time.sleep(_POLL_S)
            running = unfinished


def _failures_of(job: Job, images: int) -> list[Failure] | None:
    """The failures of a job that has ended, or None while the job waits or runs."""
    status = job.get_status()
    if status == JobStatus.FINISHED:
        return [Failure(name, reason) for name, reason in job.return_value() or []]
    if status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED, None):
        return [Failure(f"{images} images", "their job failed: the worker's log says why")]
    return None


def embed_job(images: list[tuple[str, int | None]]) -> list[tuple[str, str]]:
    """Embed images on an RQ worker. Returns the failures, each as (name, reason)."""
    refs = [ImageRef(url, task_id) for url, task_id in images]
    outcomes = _embed_all(_worker_service(), refs)
    return [(failure.name, failure.reason) for failure in outcomes if failure]


@functools.cache
def _worker_service() -> Service:
    return Service.start(Settings.from_env())


def _embed_all(service: Service, images: Iterable[ImageRef]) -> Iterator[Failure | None]:
    """Embed images, and load the next ones meanwhile. Yields a failure or None for each image."""
    loads = max(_LOADS_AT_ONCE, 2 * service.segmenter.encode_batch)
    with ThreadPoolExecutor(loads) as pool:
        waiting: set[Future[Failure | None]] = set()
        for image in images:
            waiting.add(pool.submit(_embed, service, image))
            if len(waiting) >= 2 * loads:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in as_completed(waiting))


def _embed(service: Service, image: ImageRef) -> Failure | None:
    try:
        if not service.segmenter.has(image):
            service.segmenter.embed(image, priority=Priority.REST)
    except (ImageError, OutOfDeviceMemoryError) as error:
        return Failure(str(image), str(error))
    return None
