"""Trains the built-in checkpoint on synthetic scenes and on photographs with masks.

    python -m training.train --minutes 60 --photographs DIR instances.json

The same command runs on a GPU and, slower, on a CPU. A run that was stopped goes on from its last
state file when the same command is given again. --limit stops this process in time, where a machine
is lent for a while.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from model.architecture import MobileSAMConfig
from model.files import write_atomically
from model.network.checkpoint import save_network
from model.predictor import load_predictor
from training.augmentation import Frames, photograph_frames, scene_frames
from training.evaluate import evaluate
from training.evaluation_datasets import open_dataset
from training.labelled_images import LabelledDataset, sample
from training.pool import SIDE, UNKNOWN, PhotographPool, ScenePool
from training.record import RECORDED_DATASETS, describe, record_scores
from training.scores import summarise
from training.trainer import Trainer

BUILTIN_CONFIG = MobileSAMConfig(
    image_size=512,
    encoder_widths=(48, 96, 160, 256),
    encoder_depths=(2, 2, 6, 2),
    encoder_heads=(2, 3, 5, 8),
    embedding_width=128,
    decoder_mlp_width=512,
)
_FIRST_SHARE = 0.5  # of the run, for the smallest pictures; the other sizes share the rest
_STEPS_TO_A_LINE = 20  # of the log
_SAMPLE = (30, 3)  # photographs and objects of each held-out dataset


@dataclass(frozen=True)
class Plan:
    """What to run: the flags of the command.

    Attributes:
        output: the finished checkpoint.
        run: the folder of the run's state, log and unfinished checkpoint.
        minutes: the length of the run in time spent training, over all its restarts; or
        steps: the length of the run in steps.
        limit: minutes after which this process stops and leaves its state; None for no limit.
        photographs: what to learn from beside scenes.
        photograph_share: the share of photographs in a batch, where there are photographs.
        held_out: what to judge the unfinished network by.
        evaluate_minutes: minutes of training between two evaluations.
        save_minutes: minutes of training between two state files.
        image_sizes: of the parts of the run, growing: most is learnt from small pictures, which
            cost a fraction. The finished network has the last.
        batch_size: pictures of 256 x 256 to a step; fewer where they are larger.
        scenes: the number of scenes in the pool.
        scene_processes: processes that make scenes.
        seed: of the weights and of the scenes.
        device: ``cpu`` or ``cuda``.
        judged_by: names of ``training.record.RECORDED_DATASETS``, for the finished network.
    """

    output: Path
    run: Path
    minutes: float | None = None
    steps: int | None = None
    limit: float | None = None
    photographs: tuple[Path, ...] = ()
    photograph_share: float = 0.55
    held_out: tuple[Path, ...] = ()
    evaluate_minutes: float = 10.0
    save_minutes: float = 3.0
    image_sizes: tuple[int, ...] = (256, 384, 512)
    batch_size: int = 16
    scenes: int = 800
    scene_processes: int = 1
    seed: int = 0
    device: str = "cpu"
    judged_by: tuple[str, ...] = field(default=tuple(RECORDED_DATASETS))

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give the length of the run either in minutes or in steps")
        for size in self.image_sizes:
            if size % 32:
                raise ValueError(f"image size must be a multiple of 32, not {size}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("torch finds no CUDA device here: choose --device cpu")

    def image_size_at(self, progress: float) -> int:
        """Side of the input frame when ``progress`` (0 to 1) of the run is done."""
        if progress < _FIRST_SHARE or len(self.image_sizes) == 1:
            return self.image_sizes[0]
        later = len(self.image_sizes) - 1
        part = int((progress - _FIRST_SHARE) / (1 - _FIRST_SHARE) * later)
        return self.image_sizes[1 + min(part, later - 1)]

    def batch_size_at(self, image_size: int) -> int:
        """Pictures to a step."""
        return max(2, round(self.batch_size * min(1.0, (256 / image_size) ** 2)))

    @property
    def state_file(self) -> Path:
        """From where the run can go on."""
        return self.run / "state.pt"

    @property
    def latest_file(self) -> Path:
        """The checkpoint of the unfinished run."""
        return self.run / "latest.safetensors"


class Run:
    """A plan in progress: the trainer, the pools, and the clock.

    The clock counts training only: no start, no evaluation, no saving.
    """

    def __init__(self, plan: Plan, config: MobileSAMConfig, side: int) -> None:
        plan.run.mkdir(parents=True, exist_ok=True)
        self.plan = plan
        self.trainer = Trainer(
            replace(config, image_size=plan.image_sizes[0]), plan.seed, plan.device
        )
        self.seconds = 0.0
        if plan.state_file.exists():
            state = torch.load(plan.state_file, map_location=plan.device, weights_only=True)
            self.trainer.restore(state["trainer"])
            self.seconds = state["seconds"]
        photographs = _datasets(plan.photographs)
        self._held_out = [sample(dataset, *_SAMPLE) for dataset in _datasets(plan.held_out)]
        self._trained_on = {dataset.name: len(dataset) for dataset in photographs}
        self._photographs = PhotographPool(photographs, plan.device, side) if photographs else None
        # A resumed run must not learn from the same scenes again.
        seed = (plan.seed, self.trainer.step)
        torch.manual_seed(hash(seed) % 2**63)
        self._scenes = ScenePool(plan.scenes, plan.scene_processes, seed, plan.device, side)
        self._saved = self._evaluated = self.seconds

    @property
    def progress(self) -> float:
        """The share of the run that is done, 0 to 1."""
        if self.plan.steps is not None:
            return min(1.0, self.trainer.step / self.plan.steps)
        assert self.plan.minutes is not None
        return min(1.0, self.seconds / (60 * self.plan.minutes))

    def train(self, end: float) -> None:
        """Train until the run is finished or the clock ``time.monotonic`` says ``end``."""
        try:
            self._scenes.fill(min(self.plan.scenes, 2 * self.plan.batch_size))
            with tqdm(total=100.0, mininterval=1, bar_format=_BAR) as bar:
                while self.progress < 1 and time.monotonic() < end:
                    self._train_some(bar)
        finally:
            self._scenes.close()
        self.save()

    def _train_some(self, bar: tqdm[Any]) -> None:
        """Some steps, and what is due after them."""
        start = time.monotonic()
        for _ in range(_STEPS_TO_A_LINE):
            self.trainer.set_image_size(self.plan.image_size_at(self.progress))
            loss = self.trainer.train_step(self._frames(), self.progress)
            if self.plan.device == "cpu":
                self.seconds += time.monotonic() - start
                start = time.monotonic()
            if self.progress >= 1:
                break
        value = loss.item()  # waits for the device
        self.seconds += time.monotonic() - start
        bar.set_postfix_str(f"step {self.trainer.step}, loss {value:.3f}", refresh=False)
        bar.update(100 * self.progress - bar.n)
        self._log({"loss": round(value, 4)})
        if self.seconds - self._saved > 60 * self.plan.save_minutes:
            self.save()
        if self._held_out and self.seconds - self._evaluated > 60 * self.plan.evaluate_minutes:
            self.evaluate()

    def _frames(self) -> Frames:
        """A batch on the device."""
        size = self.trainer.config.image_size
        count = self.plan.batch_size_at(size)
        photographs = self._photographs
        from_photographs = 0 if photographs is None else round(count * self.plan.photograph_share)
        self._scenes.renew(count)
        with torch.no_grad():
            frames = []
            if photographs is not None and from_photographs:
                frames.append(photograph_frames(photographs.sample(from_photographs), size))
            if count > from_photographs:
                frames.append(scene_frames(self._scenes.sample(count - from_photographs), size))
            return Frames.join(frames)

    def evaluate(self) -> None:
        """Judge the unfinished network by the held-out datasets; the log gets the scores."""
        self._evaluated = self.seconds
        self._export(self.plan.latest_file)
        predictor = load_predictor(self.plan.latest_file, engine="torch", precision="fp32")
        for dataset in self._held_out:
            self._log({"dataset": dataset.name, **summarise(evaluate(predictor, dataset))})

    def save(self) -> None:
        """Write the state file and the checkpoint so far; neither is ever seen half written."""
        self._saved = self.seconds
        with write_atomically(self.plan.state_file) as file:
            torch.save({"trainer": self.trainer.state(), "seconds": self.seconds}, file)
        self._export(self.plan.latest_file)

    def finish(self) -> Path:
        """Write the finished checkpoint with its scores."""
        self._export(self.plan.output)
        record_scores(self.plan.output, self.plan.judged_by)
        return self.plan.output

    def _export(self, path: Path) -> None:
        share = self.plan.photograph_share if self._trained_on else 0.0
        facts = {
            "seed": str(self.plan.seed),
            "steps": str(self.trainer.step),
            "minutes": f"{self.seconds / 60:.1f}",
            "device": _device_name(self.plan.device),
            "pictures": str(self.trainer.pictures),
            "photograph_share": str(share),
            "trained_on": json.dumps(self._trained_on),
        }
        save_network(path, self.trainer.averaged_network(), facts)

    def _log(self, facts: dict[str, Any]) -> None:
        where = {
            "minutes": round(self.seconds / 60, 2),
            "step": self.trainer.step,
            "image_size": self.trainer.config.image_size,
        }
        with open(self.plan.run / "log.jsonl", "a") as log:
            log.write(json.dumps({**where, **facts}) + "\n")


_BAR = "{percentage:3.1f}% |{bar:30}| {elapsed} < {remaining} {postfix}"


def _datasets(paths: Iterable[Path]) -> list[LabelledDataset]:
    """In folders of masks the value 255 is unknown."""
    return [open_dataset(path, unknown=UNKNOWN) for path in paths]


def _device_name(device: str) -> str:
    if device == "cuda":
        return f"one {torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} CPU cores"


def train(plan: Plan, config: MobileSAMConfig = BUILTIN_CONFIG, side: int = SIDE) -> Path | None:
    """Run the plan, from its last state file if there is one.

    Args:
        side: of the stored pictures, pixels.

    Returns:
        The finished checkpoint file; None where the limit came first.
    """
    begin = time.monotonic()
    run = Run(plan, config, side)
    run.train(begin + 60 * plan.limit if plan.limit is not None else float("inf"))
    return run.finish() if run.progress >= 1 else None


def main() -> None:
    """The command."""
    try:
        plan = _parse()
        output = train(plan)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"training.train: {error}") from error
    if output is None:
        print(f"stopped at the limit; the same command goes on from {plan.state_file}")
    else:
        print(describe(output))


def _parse() -> Plan:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time to train, over all restarts")
    length.add_argument("--steps", type=int, help="steps to train")
    parser.add_argument("--limit", type=float, help="minutes after which this process stops")
    parser.add_argument("--output", type=Path, default=Path("training/runs/builtin.safetensors"))
    parser.add_argument("--run", type=Path, default=Path("training/runs/builtin"))
    parser.add_argument(
        "--photographs", type=Path, nargs="+", default=(), metavar="PATH",
        help="folders of images/ and masks/ (255 is unknown), COCO files, Label Studio's exports",
    )  # fmt: skip
    parser.add_argument("--photograph-share", type=float, default=Plan.photograph_share)
    parser.add_argument(
        "--held-out", type=Path, nargs="+", default=(), metavar="PATH",
        help="datasets to judge by during the run, never to learn from",
    )  # fmt: skip
    parser.add_argument("--evaluate-minutes", type=float, default=Plan.evaluate_minutes)
    parser.add_argument("--image-sizes", type=int, nargs="+", default=Plan.image_sizes)
    parser.add_argument(
        "--batch-size", type=int, default=256 if cuda else Plan.batch_size,
        help="pictures of 256 x 256 to a step",
    )  # fmt: skip
    parser.add_argument("--scenes", type=int, default=16000 if cuda else Plan.scenes)
    parser.add_argument(
        "--scene-processes", type=int, default=max(1, (os.cpu_count() or 2) - 2 if cuda else 1)
    )
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if cuda else "cpu")
    flags = vars(parser.parse_args())
    lists = {key: tuple(value) for key, value in flags.items() if isinstance(value, list)}
    return Plan(**{**flags, **lists})


if __name__ == "__main__":
    main()
