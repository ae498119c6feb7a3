"""Gives whole projects their predictions, in this process or on RQ workers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from tqdm import tqdm

from backend import jobs
from backend.embeddings.segmenter import Segmenter
from backend.http.client import Limits
from backend.label_studio.client import LabelStudio
from backend.predictions.detectors import connect
from backend.predictions.errors import TASK_ERRORS
from backend.predictions.orders import Order, Task
from backend.predictions.preannotator import Outcome, Preannotator
from backend.service import Service, connect_http
from backend.settings import Settings

_IDS_A_PAGE = 100
_OF_DETECTORS = Limits(read_s=60.0, total_s=100.0)  # a detector may be slow


@dataclass
class Report:
    """What became of the tasks.

    Attributes:
        outcomes: how many tasks had which outcome.
        boxes: how many boxes have which labels. Only :func:`count` counts them.
        failures: name and reason of each task that failed.
        unknown: how many boxes of the detector were left out, by their labels.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    boxes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, other: Report) -> None:
        """Add the tasks of another report."""
        self.outcomes += other.outcomes
        self.boxes += other.boxes
        self.failures += other.failures
        self.unknown += other.unknown


@dataclass(frozen=True)
class Work:
    """What a project is to get. Pickled for RQ workers.

    Attributes:
        project_id: the project.
        order: which predictions are wanted.
        replaces: whether tasks that have a prediction get it anew.
        threads: how many tasks are worked on at the same time. Images are encoded one by one.
    """

    project_id: int
    order: Order
    replaces: bool = False
    threads: int = 4

    def preannotator(self, service: Service) -> Preannotator:
        """What does the work.

        Args:
            service: the model, the images and Label Studio.

        Raises:
            DetectorError: there is no such detector.
        """
        name = self.order.detector
        http = connect_http(service.settings, _OF_DETECTORS)
        return Preannotator(
            service.label_studio,
            self.project_id,
            self.order,
            service.segmenter_of(self.project_id).model_version,
            replaces=self.replaces,
            detector=connect(name, service.images, http) if name else None,
        )

    def counter(self, label_studio: LabelStudio, weights: str) -> Preannotator:
        """What only counts: no image is loaded.

        Args:
            label_studio: where the project is.
            weights: the ``model_version`` of the weights.
        """
        return Preannotator(
            label_studio, self.project_id, self.order, weights, replaces=self.replaces
        )


def preannotate_here(
    preannotator: Preannotator, segmenter: Segmenter, ids: Sequence[int], threads: int
) -> Report:
    """Give tasks their predictions in this process, with a progress bar.

    Args:
        preannotator: makes and writes the predictions.
        segmenter: embeds the images and predicts the masks.
        ids: the tasks.
        threads: how many tasks are worked on at the same time.
    """
    report = Report()
    with tqdm(total=len(ids), unit="task", desc="predicting") as progress:
        for part in _work(preannotator, segmenter, ids, threads):
            report.add(part)
            progress.update(part.outcomes.total() + len(part.failures))
    report.unknown = preannotator.unknown
    return report


def preannotate_on_workers(settings: Settings, work: Work, ids: Sequence[int]) -> Report:
    """Let RQ workers give tasks their predictions, and show their progress.

    Args:
        settings: the Redis of the queue, and the team.
        work: what to do.
        ids: the tasks.
    """
    report = Report()
    with tqdm(total=len(ids), unit="task", desc="predicting on workers") as progress:
        for done in jobs.run(settings, preannotate_job, jobs.batches(ids), work):
            failed = Report(failures=[(f"{done.count} tasks", jobs.FAILED)])
            report.add(done.result or failed)
            progress.update(done.count)
    return report


def preannotate_job(service: Service, ids: Sequence[int], work: Work) -> Report:
    """Give tasks their predictions on an RQ worker."""
    preannotator = work.preannotator(service)
    report = Report()
    segmenter = service.segmenter_of(work.project_id)
    for part in _work(preannotator, segmenter, ids, work.threads):
        report.add(part)
    report.unknown = preannotator.unknown
    return report


def count(preannotator: Preannotator, ids: Sequence[int]) -> Report:
    """What :func:`preannotate_here` would do, as far as it shows without the images."""
    report = Report()
    with tqdm(total=len(ids), unit="task", desc="counting") as progress:
        for page in _pages(ids):
            open_ids = preannotator.open_tasks(page)
            report.outcomes[Outcome.KEPT] += len(page) - len(open_ids)
            for task in preannotator.tasks(open_ids):
                _count(preannotator, task, report)
            progress.update(len(page))
    return report


def _count(preannotator: Preannotator, task: Task, report: Report) -> None:
    if preannotator.order.everything is not None:
        report.outcomes[Outcome.WRITTEN] += 1
        return
    try:
        boxes = preannotator.order.boxes(task, preannotator.config)
    except TASK_ERRORS as error:
        report.failures.append((f"task {task['id']}", str(error)))
        return
    report.outcomes[Outcome.WRITTEN if boxes else Outcome.NO_BOXES] += 1
    report.boxes.update(" + ".join(label.name for label in box.labels) for box in boxes)


def _work(
    preannotator: Preannotator, segmenter: Segmenter, ids: Iterable[int], threads: int
) -> Iterator[Report]:
    """Work on tasks in threads. Gives a report as soon as something is done."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: dict[Future[Outcome], Task] = {}
        for page in _pages(ids):
            open_ids = preannotator.open_tasks(page, removes_surplus=True)
            yield Report(Counter({Outcome.KEPT: len(page) - len(open_ids)}))
            for task in preannotator.tasks(open_ids):
                waiting[pool.submit(preannotator.preannotate, segmenter, task)] = task
                if len(waiting) >= 2 * threads:
                    yield _finished(waiting)
        while waiting:
            yield _finished(waiting)


def _finished(waiting: dict[Future[Outcome], Task]) -> Report:
    """Wait until a task is done, and take all that are done out of ``waiting``."""
    report = Report()
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        task = waiting.pop(future)
        try:
            report.outcomes[future.result()] += 1
        except TASK_ERRORS as error:
            report.failures.append((f"task {task['id']}", str(error)))
    return report


def _pages(ids: Iterable[int]) -> Iterator[list[int]]:
    remaining = iter(ids)
    while page := list(itertools.islice(remaining, _IDS_A_PAGE)):
        yield page
