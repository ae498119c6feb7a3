"""Embeds whole projects before the annotators come, in this process or on RQ workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from backend import jobs
from backend.embeddings.priority import Priority
from backend.images.errors import ImageError
from backend.images.formats import SUFFIXES
from backend.images.image_ref import ImageRef
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service
from backend.settings import Settings
from model.engines import OutOfDeviceMemoryError

_LOADS_AT_ONCE = 4  # images that are loaded while another batch is encoded, at least


@dataclass(frozen=True)
class Failure:
    """An image, or ``count`` images, that could not be embedded, and why."""

    name: str
    reason: str
    count: int = 1


@dataclass
class Report:
    """What was done.

    Attributes:
        embedded: how many images were embedded now.
        known: how many images had an embedding already.
        failures: of the other images.
    """

    embedded: int = 0
    known: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, outcomes: Iterable[bool | Failure]) -> None:
        """Count images: True was embedded now, False had an embedding already."""
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                self.failures.append(outcome)
            elif outcome:
                self.embedded += 1
            else:
                self.known += 1

    def __str__(self) -> str:
        failed = sum(failure.count for failure in self.failures)
        return (
            f"{self.embedded + self.known + failed} images: {self.embedded} embedded now,"
            f" {self.known} were there already, {failed} failed"
        )


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
    service: Service, images: Iterable[ImageRef], total: int | None, report: Report
) -> None:
    """Embed images in this process, with a progress bar. Images with an embedding are skipped.

    Args:
        service: loads, embeds and keeps the images.
        images: the images.
        total: how many images there are, or None where that is not known.
        report: the images are added to it.
    """
    with tqdm(total=total, unit="image", desc="embedding") as progress:
        for outcome in _embed_all(service, images):
            report.add([outcome])
            progress.update()


def embed_on_workers(
    settings: Settings, images: Iterable[ImageRef], total: int | None, report: Report
) -> None:
    """Let RQ workers embed images, and show their progress until all jobs are done.

    Args:
        settings: the Redis of the queue, and the team.
        images, total, report: as in :func:`embed_here`.
    """
    with tqdm(total=total, unit="image", desc="embedding on workers") as progress:
        addresses = ((image.url, image.task_id) for image in images)
        for done in jobs.run(settings, embed_job, jobs.batches(addresses)):
            if done.result is None:
                report.add([Failure(f"{done.count} images", jobs.FAILED, done.count)])
            else:
                report.add(done.result)
            progress.update(done.count)


def embed_job(service: Service, images: list[tuple[str, int | None]]) -> list[bool | Failure]:
    """Embed images on an RQ worker. Returns what :meth:`Report.add` takes."""
    return list(_embed_all(service, (ImageRef(url, task_id) for url, task_id in images)))


def _embed_all(service: Service, images: Iterable[ImageRef]) -> Iterator[bool | Failure]:
    """Embed images, and load the next ones meanwhile. Yields what :meth:`Report.add` takes."""
    loads = max(_LOADS_AT_ONCE, 2 * service.segmenter.encode_batch)
    with ThreadPoolExecutor(loads) as pool:
        waiting: set[Future[bool | Failure]] = set()
        for image in images:
            waiting.add(pool.submit(_embed, service, image))
            if len(waiting) >= 2 * loads:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in as_completed(waiting))


def _embed(service: Service, image: ImageRef) -> bool | Failure:
    try:
        if service.segmenter.has(image):
            return False
        service.segmenter.embed(image, priority=Priority.REST)
    except (ImageError, OutOfDeviceMemoryError) as error:
        return Failure(str(image), str(error))
    return True
