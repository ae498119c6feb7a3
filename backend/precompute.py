"""Embeds whole projects before the annotators come, in this process or on RQ workers."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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

QUEUE_NAME = "mobile-sam"
_LOADS_AT_ONCE = 4  # images that are loaded while another image is encoded
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
    with (
        ThreadPoolExecutor(_LOADS_AT_ONCE) as pool,
        tqdm(total=total, unit="image", desc="embedding") as progress,
    ):
        waiting: dict[Future[None], ImageRef] = {}
        remaining = iter(images)
        while True:
            room = 2 * _LOADS_AT_ONCE - len(waiting)
            for image in itertools.islice(remaining, room):
                waiting[pool.submit(_embed, service, image)] = image
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                image = waiting.pop(future)
                try:
                    future.result()
                except ImageError as error:
                    failures.append(Failure(str(image), str(error)))
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
    failures: list[tuple[str, str]] = []
    service = _worker_service()
    for url, task_id in images:
        image = ImageRef(url, task_id)
        try:
            _embed(service, image)
        except ImageError as error:
            failures.append((str(image), str(error)))
    return failures


@functools.cache
def _worker_service() -> Service:
    return Service.start(Settings.from_env())


def _embed(service: Service, image: ImageRef) -> None:
    if not service.segmenter.has(image):
        service.segmenter.embed(image, priority=Priority.REST)
