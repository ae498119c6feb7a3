"""Learning from the annotations of one project: from the API to a version that is offered.

The folder of the run keeps the annotations as they were at its beginning. So a run that was killed
goes on with them, whatever the team has annotated since. A run that has failed for another reason
than a kill, an unreachable server or a full disk forgets them: the next run begins anew.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from backend.http.errors import HttpClientError
from backend.label_studio.errors import LabelStudioError
from backend.learning.errors import TooLittleError
from backend.learning.runs import LearningRuns
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service, connect_versions
from backend.settings import Settings
from model.decoder_file import DecoderRecord
from model.files import write_atomically
from model.predictor import Predictor
from training.learning.annotations import Annotated, read_annotations, snapshot
from training.learning.decoder import Recipe
from training.learning.gate import (
    SCENE_OBJECTS,
    Verdict,
    decide,
    heeded_shares,
    judge_pairs,
)
from training.learning.pictures import Picture, Role, by_role
from training.learning.rehearsal import Rehearsal
from training.learning.report import report_text
from training.learning.run import Progress, Tensors, prepare, train

_PAGE = 20  # tasks; annotations may have megabytes
_SNAPSHOT, _WORK = "annotations.json.gz", "work"
_PROGRESS_S = 2.0
_JUDGED = 120  # pictures of held-out tasks, the newest


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        project_id: the project that learns.
        recipe: how.
        minutes: the longest training.
        minimum_tasks, minimum_objects: with fewer there is no run.
        device: ``cpu`` or ``cuda``.
        if_changed: whether only annotations that the last run did not know are worth a run.
    """

    project_id: int
    recipe: Recipe = Recipe()
    minutes: float = 20.0
    minimum_tasks: int = 30
    minimum_objects: int = 100
    device: str = "cpu"
    if_changed: bool = False


def learn_project(
    plan: Plan, settings: Settings, counts: Mapping[Role, int] | None = None
) -> dict[str, Any]:
    """Learn from a project's annotations, and keep the decoder as a version if it is better.

    Args:
        plan: what to do.
        settings: of the backend.
        counts: how many synthetic scenes have each role; None for the usual numbers.

    Returns:
        The report.

    Raises:
        LearningError: there is too little to learn from, another run goes on, or Redis gives no
            answer.
        LabelStudioError: no answer.
        OSError, ValueError: a file or a setting cannot be used.
    """
    runs = LearningRuns.of(settings)
    with runs.hold(plan.project_id):
        service = Service.start(settings)
        return _Learning(plan, settings, service, runs, counts).run()


class _Learning:
    """One process of a run."""

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        service: Service,
        runs: LearningRuns,
        counts: Mapping[Role, int] | None,
    ) -> None:
        self._plan = plan
        self._team = settings.team
        self._service = service
        self._runs = runs
        self._versions = connect_versions(settings)
        self._base: Predictor = service.segmenter.predictor
        self._folder = runs.folder(plan.project_id)
        self._noted = 0.0
        fingerprint = self._base.checkpoint.fingerprint
        scenes = settings.model_dir / "learning-scenes" / fingerprint[:16]
        self._rehearsal = Rehearsal(scenes, self._base, **({"counts": counts} if counts else {}))

    def run(self) -> dict[str, Any]:
        """Go through all phases. Those that an earlier process has ended are skipped."""
        try:
            report = self._learn()
        except (OSError, HttpClientError, LabelStudioError):
            raise
        except Exception:
            self._forget()  # the next run would fail in the same way
            raise
        self._forget()
        return report

    def _learn(self) -> dict[str, Any]:
        self._note("reading annotations", force=True)
        kept = self._snapshot()
        config = LabelingConfig.parse(kept["label_config"])
        annotated = read_annotations(kept["tasks"], config, self._service.segmenter)
        self._check(annotated, kept["annotations"])
        work = self._folder / _WORK
        self._note("embedding images", force=True)
        self._rehearsal.prepare()
        failures = prepare(work, annotated.pictures, self._base)
        tensors = train(
            work, self._rehearsal, self._plan.recipe, self._plan.device, self._plan.minutes,
            lambda progress: self._note("learning", asdict(progress)),
        )  # fmt: skip
        self._note("judging", force=True)
        verdict = self._judge(tensors, annotated.pictures)
        report = self._report(kept, annotated, failures, verdict)
        report["version"] = self._offer(tensors, report) if verdict.is_offered else None
        report["text"] = report_text(report)
        self._runs.note_report(self._plan.project_id, report)
        return report

    def _forget(self) -> None:
        """Remove what a run goes on with."""
        (self._folder / _SNAPSHOT).unlink(missing_ok=True)
        shutil.rmtree(self._folder / _WORK, ignore_errors=True)

    def _snapshot(self) -> dict[str, Any]:
        """The annotations of the run. An unfinished run of the same plan goes on with its own."""
        path = self._folder / _SNAPSHOT
        plan = {
            "recipe": asdict(self._plan.recipe), "minutes": self._plan.minutes,
            "parent": self._base.checkpoint.fingerprint,
        }  # fmt: skip
        if path.exists():
            kept: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
            if kept["plan"] == plan:
                return kept
        shutil.rmtree(self._folder / _WORK, ignore_errors=True)
        label_studio, project_id = self._service.label_studio, self._plan.project_id
        project = label_studio.project(project_id)
        kept = {
            "plan": plan,
            "label_config": project["label_config"],
            "annotations": project.get("total_annotations_number") or 0,
            "tasks": snapshot(label_studio.all_tasks(project_id, _PAGE, annotated=True)),
        }
        with write_atomically(path) as file:
            file.write(gzip.compress(json.dumps(kept).encode(), compresslevel=3))
        return kept

    def _check(self, annotated: Annotated, annotations: int) -> None:
        """Whether there is enough to learn from.

        Raises:
            TooLittleError: there is not.
        """
        plan = self._plan
        enough = annotated.tasks >= plan.minimum_tasks, annotated.objects >= plan.minimum_objects
        last = self._runs.report(plan.project_id)
        is_known = last.get("data", {}).get("hash") == annotated.data_hash
        if all(enough) and not (plan.if_changed and is_known):
            return
        if all(enough):
            raise TooLittleError(
                f"project {plan.project_id} has no annotation that its last run did not know:"
                " annotate more tasks",
                annotations,
            )
        raise TooLittleError(
            f"project {plan.project_id} has {annotated.tasks} tasks with {annotated.objects}"
            f" outlined objects, and learning needs {plan.minimum_tasks} tasks and"
            f" {plan.minimum_objects} objects: annotate more (--minimum-tasks and"
            " --minimum-objects lower the numbers)",
            annotations,
        )

    def _judge(self, tensors: Tensors, pictures: Sequence[Picture]) -> Verdict:
        learnt = self._base.with_decoder(tensors)
        held_out = by_role(pictures)[Role.JUDGE][-_JUDGED:]
        scenes = self._rehearsal.pictures(Role.JUDGE)
        own = judge_pairs(self._base, learnt, held_out, "held-out images")
        others = judge_pairs(self._base, learnt, scenes, "synthetic scenes", objects=SCENE_OBJECTS)
        shown = [*held_out, *scenes]
        heeded = heeded_shares(self._base, learnt, shown)
        return decide(own, others, heeded)

    def _report(
        self, kept: Mapping[str, Any], annotated: Annotated, failures: list[str], verdict: Verdict
    ) -> dict[str, Any]:
        progress = self._runs.progress(self._plan.project_id)
        return {
            "project": self._plan.project_id,
            "team": self._team,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "parent": self._base.checkpoint.fingerprint,
            "recipe": asdict(self._plan.recipe),
            "data": {
                "tasks": annotated.tasks,
                "objects": annotated.objects,
                "annotations": kept["annotations"],
                "origins": {o.value: count for o, count in annotated.origins.items()},
                "failures": [*annotated.failures, *failures],
                "hash": annotated.data_hash,
            },
            "training": {k: v for k, v in progress.items() if k in vars(Progress())},
            "verdict": verdict.scores,
        }

    def _offer(self, tensors: Tensors, report: Mapping[str, Any]) -> int:
        scores = {name: report[name] for name in ("verdict", "training", "recipe")}
        record = DecoderRecord(report["parent"], report["data"]["hash"], scores, report["created"])
        return self._versions.add(self._plan.project_id, tensors, record)

    def _note(
        self, phase: str, progress: Mapping[str, Any] | None = None, *, force: bool = False
    ) -> None:
        """Write how far the run is, not more often than somebody would look."""
        now = time.monotonic()
        if force or now - self._noted > _PROGRESS_S or (progress or {}).get("is_done"):
            self._noted = now
            before = self._runs.progress(self._plan.project_id)
            before.pop("sentence", None)  # why an earlier run has ended
            known = {**before, **(progress or {}), "phase": phase}
            self._runs.note_progress(self._plan.project_id, known)
