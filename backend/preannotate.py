"""Gives whole projects their predictions, in this process or on RQ workers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from tqdm import tqdm

from backend import jobs
from backend.images.errors import ImageError
from backend.label_studio.errors import LabelStudioError
from backend.predictions.preannotator import Order, Outcome, Preannotator, Task
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.service import Service
from model.engines import OutOfDeviceMemoryError

DEFAULT_THREADS = 4  # images are loaded and predictions written while another image is encoded
_IDS_A_PAGE = 100
_FAILURES = (
    ImageError,
    LabelStudioError,
    MalformedRequestError,
    OutOfDeviceMemoryError,
    UnanswerableRequestError,
)


@dataclass
class Report:
    """What became of the tasks.

    Attributes:
        outcomes: how many tasks had which outcome.
        boxes: how many boxes have which labels. Only :func:`count` counts them.
        failures: name and reason of each task that failed.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    boxes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Add the tasks of another report."""
        self.outcomes += other.outcomes
        self.boxes += other.boxes
        self.failures += other.failures


def preannotate_here(preannotator: Preannotator, ids: Sequence[int], threads: int) -> Report:
    """Give tasks their predictions in this process, with a progress bar.

    Args:
        preannotator: makes and writes the predictions.
        ids: the tasks.
        threads: how many tasks are worked on at the same time. Images are encoded one by one.
    """
    report = Report()
    with tqdm(total=len(ids), unit="task", desc="predicting") as progress:
        for part in _work(preannotator, ids, threads):
            report.add(part)
            progress.update(part.outcomes.total() + len(part.failures))
    return report


def preannotate_on_workers(
    redis_url: str, order: Order, ids: Sequence[int], threads: int
) -> Report:
    """Let RQ workers give tasks their predictions, and show their progress.

    Args:
        redis_url: the Redis of the queue.
        order: what to do.
        ids: the tasks.
        threads: of each worker, as in :func:`preannotate_here`.
    """
    report = Report()
    with tqdm(total=len(ids), unit="task", desc="predicting on workers") as progress:
        lists = jobs.batches(ids)
        for done in jobs.run(redis_url, preannotate_job, lists, order, threads):
            failed = Report(failures=[(f"{done.count} tasks", jobs.FAILED)])
            report.add(done.result or failed)
            progress.update(done.count)
    return report


def preannotate_job(ids: Sequence[int], order: Order, threads: int) -> Report:
    """Give tasks their predictions on an RQ worker."""
    report = Report()
    for part in _work(start(jobs.service(), order), ids, threads):
        report.add(part)
    return report


def start(service: Service, order: Order) -> Preannotator:
    """The preannotator of an order."""
    segmenter = service.segmenter
    return Preannotator(segmenter, service.label_studio, order, segmenter.model_version)


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
    try:
        boxes = preannotator.boxes(task)
    except _FAILURES as error:
        report.failures.append((f"task {task['id']}", str(error)))
        return
    report.outcomes[Outcome.WRITTEN if boxes else Outcome.NO_BOXES] += 1
    report.boxes.update(" + ".join(label.name for label in box.labels) for box in boxes)


def _work(preannotator: Preannotator, ids: Iterable[int], threads: int) -> Iterator[Report]:
    """Work on tasks in threads. Gives a report as soon as something is done."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: dict[Future[Outcome], Task] = {}
        for page in _pages(ids):
            open_ids = preannotator.open_tasks(page, removes_surplus=True)
            yield Report(Counter({Outcome.KEPT: len(page) - len(open_ids)}))
            for task in preannotator.tasks(open_ids):
                waiting[pool.submit(preannotator.preannotate, task)] = task
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
        except _FAILURES as error:
            report.failures.append((f"task {task['id']}", str(error)))
    return report


def _pages(ids: Iterable[int]) -> Iterator[list[int]]:
    remaining = iter(ids)
    while page := list(itertools.islice(remaining, _IDS_A_PAGE)):
        yield page
