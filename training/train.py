"""Trains the built-in checkpoint on procedural scenes.

    python -m training.train --minutes 75 --output model/mobile_sam_builtin.safetensors

A run that was stopped goes on from its last state file when the same command is given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model.architecture import MobileSAMConfig
from model.network.checkpoint import save_network
from model.network.mobile_sam import MobileSAM
from training.batches import LOW_RES, Answers, Batch, stream
from training.losses import WHOLE_SHARE, answer_loss, correction_loss, mask_losses
from training.parallel import GradientExchange
from training.prompts import PromptBatch, correction_clicks
from training.record import RECORDED_SETS, describe, record_scores

BUILTIN_CONFIG = MobileSAMConfig(
    image_size=512,
    encoder_widths=(48, 96, 160, 256),
    encoder_depths=(2, 2, 6, 2),
    encoder_heads=(2, 3, 5, 8),
    embedding_width=128,
    decoder_mlp_width=512,
)
PEAK_LEARNING_RATE = 1e-3
_WARM_UP = 0.03  # share of the run
_BALANCE_AT_END = 0.25
_CORRECTED_SHARE = 0.35
_CORRECTIONS = 2  # clicks that follow on each mask that is corrected
_MASK_PROMPT_SHARE = 0.5  # of the corrections that also see the mask they correct


@dataclass(frozen=True)
class Plan:
    """What to run: the flags of the command.

    Attributes:
        minutes: length of the run in time spent training, over all its restarts; or
        steps: length of the run in steps.
        image_sizes: of the parts of the run, growing: most is learnt from small pictures, which
            cost a fraction. The exported network has the last.
        batch_size: images to a step, at most; fewer where they are larger than 256 x 256.
        save_minutes: between state files.
        processes: that share each step's images.
        judged_on: names of ``training.record.RECORDED_SETS``, for the finished network's scores.
    """

    output: Path
    run: Path
    minutes: float | None = None
    steps: int | None = None
    image_sizes: tuple[int, ...] = (256, 384, 512)
    batch_size: int = 16
    seed: int = 0
    save_minutes: float = 3.0
    processes: int = 2
    judged_on: tuple[str, ...] = tuple(RECORDED_SETS)

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give the length of the run either in minutes or in steps")
        for size in self.image_sizes:
            if size % 32:
                raise ValueError(f"image size must be a multiple of 32, not {size}")

    def image_size_at(self, progress: float) -> int:
        """Side of the input frame when ``progress`` (0 to 1) of the run is done."""
        return self.image_sizes[
            min(int(progress * len(self.image_sizes)), len(self.image_sizes) - 1)
        ]

    def batch_size_at(self, image_size: int) -> int:
        """Images to a step of each process."""
        images = self.batch_size * min(1.0, 256 / image_size) ** 2
        return max(2, round(images / self.processes))

    @property
    def state_file(self) -> Path:
        """Where the run can be taken up again."""
        return self.run / "state.pt"

    @property
    def latest_file(self) -> Path:
        """The checkpoint of the unfinished run."""
        return self.run / "latest.safetensors"


class Trainer:
    """The network, its running average, the optimizer, and how far they are."""

    def __init__(self, plan: Plan, config: MobileSAMConfig) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.step = 0
        self.seconds = 0.0
        self.pictures = 0  # in all steps together
        self._build(dataclasses.replace(config, image_size=plan.image_sizes[0]))
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}

    def _build(self, config: MobileSAMConfig) -> None:
        self.config = config
        self.network = MobileSAM(config).to(memory_format=torch.channels_last)
        named = list(self.network.named_parameters())
        matrices = [p for name, p in named if _is_matrix(name, p)]
        others = [p for name, p in named if not _is_matrix(name, p)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, weight_decay=0.0, betas=(0.9, 0.98)),
        ]

    def set_image_size(self, image_size: int) -> None:
        """Go on with input frames of another side."""
        if image_size != self.config.image_size:
            state = self.state()
            self._build(dataclasses.replace(self.config, image_size=image_size))
            self.restore(state)

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        if self.plan.steps is not None:
            return min(1.0, self.step / self.plan.steps)
        assert self.plan.minutes is not None
        return min(1.0, self.seconds / (60 * self.plan.minutes))

    def compute_gradients(self, batch: Batch) -> float:
        """The first half of a step; returns the loss."""
        loss = self._loss(batch)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def apply_gradients(self) -> None:
        """The second half of a step."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = PEAK_LEARNING_RATE * _schedule(self.progress)
            optimizer.step()
        self.step += 1
        self.pictures += self.plan.processes * self.plan.batch_size_at(self.config.image_size)
        self._update_average()

    def _loss(self, batch: Batch) -> Tensor:
        images = self.network.preprocess(batch.images)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = self.network.image_encoder(images)
        embeddings = embeddings.float()
        balance = max(_BALANCE_AT_END, 1 - 1.5 * self.progress)
        short = self._answer(embeddings, batch.short, balance)
        long = self._answer(embeddings, batch.long, balance)
        return 0.75 * short + 0.25 * long

    def _answer(self, embeddings: Tensor, answers: Answers, balance: float) -> Tensor:
        """Loss of the first masks, and of those that follow on clicks correcting them."""
        prompts, targets = answers.prompts, answers.targets.float() / 255
        low_res_masks, iou_predictions = self.network.decode(
            embeddings[prompts.image_index], prompts.point_coords, prompts.point_labels, None
        )
        first = answer_loss(
            low_res_masks, iou_predictions, targets, answers.is_single_click, balance
        )
        with torch.no_grad():
            chosen = torch.randperm(len(targets))[: math.ceil(_CORRECTED_SHARE * len(targets))]
            is_click = answers.is_single_click[chosen]
            whole = torch.rand(len(chosen)) < WHOLE_SHARE
            target = targets[chosen, (~whole).long()]
            losses = mask_losses(low_res_masks[chosen], target[:, None], balance)[..., 0]
            best = torch.where(is_click, losses[:, 1:].argmin(1) + 1, 0)
            masks = low_res_masks[chosen, best]
            prompts = prompts.select(chosen)
        corrected = self._correct(embeddings, prompts, masks, target, balance)
        return first + 0.5 * corrected

    def _correct(
        self,
        embeddings: Tensor,
        prompts: PromptBatch,
        masks: Tensor,
        target: Tensor,
        balance: float,
    ) -> Tensor:
        """Loss after more clicks, half of the time with the earlier mask as a prompt."""
        encode = self.network.prompt_encoder
        without = encode.no_mask_embed.weight[:, :, None, None]
        total = masks.new_zeros(())
        for _ in range(_CORRECTIONS):
            click, label = correction_clicks(masks > 0, target > 0.5, LOW_RES)
            prompts = prompts.with_click(click, label)
            sparse, dense = encode(prompts.point_coords, prompts.point_labels, masks[:, None])
            sees_mask = torch.rand(len(masks))[:, None, None, None] < _MASK_PROMPT_SHARE
            low_res_masks, iou_predictions = self.network.mask_decoder(
                embeddings[prompts.image_index],
                encode.image_pe(),
                sparse,
                torch.where(sees_mask, dense, without),
            )
            total = total + correction_loss(low_res_masks, iou_predictions, target, balance)
            masks = low_res_masks[:, 0].detach()
        return total / _CORRECTIONS

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(0.998, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def averaged_network(self) -> MobileSAM:
        """A network of the averaged weights."""
        network = MobileSAM(self.config)
        network.load_state_dict(self.average)
        return network

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "pictures": self.pictures,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state, whatever its image size: no weight depends on it."""
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.pictures = state["pictures"]


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon trains it: the weights of linear layers, but no embedding, bias or kernel."""
    others = ("embed", "bias", "iou_token", "mask_tokens")
    return parameter.dim() == 2 and not any(part in name for part in others)


def _schedule(progress: float) -> float:
    """Warm-up, then a cosine to zero."""
    if progress < _WARM_UP:
        return max(0.01, progress / _WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


def train(plan: Plan, config: MobileSAMConfig = BUILTIN_CONFIG) -> Path:
    """Run the plan to its end, from its last state file if there is one.

    Returns:
        The exported checkpoint file.
    """
    plan.run.mkdir(parents=True, exist_ok=True)
    trainer = _trainer(plan, config)
    exchange = GradientExchange(plan.processes, trainer.network)
    context = multiprocessing.get_context("spawn")
    for rank in range(1, plan.processes):
        context.Process(target=_follow, args=(plan, config, exchange, rank), daemon=True).start()
    with tqdm(total=100.0, mininterval=1, bar_format=_BAR) as bar:
        _train(trainer, exchange, 0, bar)
    return _export(trainer)


def _trainer(plan: Plan, config: MobileSAMConfig) -> Trainer:
    trainer = Trainer(plan, config)
    if plan.state_file.exists():
        trainer.restore(torch.load(plan.state_file, weights_only=True))
    return trainer


def _follow(plan: Plan, config: MobileSAMConfig, exchange: GradientExchange, rank: int) -> None:
    """What the further processes do: the same steps on other images, and no files."""
    _train(_trainer(plan, config), exchange, rank, None)


def _train(trainer: Trainer, exchange: GradientExchange, rank: int, bar: tqdm[Any] | None) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // trainer.plan.processes))
    cv2.setNumThreads(1)
    while trainer.progress < 1:
        trainer.set_image_size(trainer.plan.image_size_at(trainer.progress))
        _train_at_one_size(trainer, exchange, rank, bar)
        if rank == 0:
            _save(trainer)


_BAR = "{percentage:3.1f}% |{bar:30}| {elapsed} < {remaining} {postfix}"


def _train_at_one_size(
    trainer: Trainer, exchange: GradientExchange, rank: int, bar: tqdm[Any] | None
) -> None:
    plan, size = trainer.plan, trainer.config.image_size
    # Neither another process nor a resumed run may see the scenes of this one.
    seed = (plan.seed, rank, trainer.step)
    torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))
    saved = last = time.monotonic()
    smooth = math.nan
    for batch in stream(seed, plan.batch_size_at(size), size):
        loss = trainer.compute_gradients(batch)
        now = time.monotonic()
        clock = trainer.seconds + now - last
        trainer.seconds = exchange.average(rank, trainer.step, trainer.network, clock)
        last = now
        trainer.apply_gradients()
        if bar is not None:
            smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
            bar.set_postfix_str(f"step {trainer.step}, {size} px, loss {smooth:.3f}", refresh=False)
            bar.update(100 * trainer.progress - bar.n)
        if trainer.progress >= 1 or plan.image_size_at(trainer.progress) != size:
            return
        if rank == 0 and time.monotonic() - saved > 60 * plan.save_minutes:
            _save(trainer)
            saved = time.monotonic()


def _save(trainer: Trainer) -> None:
    """Write the state file and the checkpoint so far; neither is ever seen half written."""
    plan = trainer.plan
    partial = plan.state_file.with_suffix(".partial")
    torch.save(trainer.state(), partial)
    os.replace(partial, plan.state_file)
    save_network(plan.latest_file, trainer.averaged_network(), _metadata(trainer))


def _metadata(trainer: Trainer) -> dict[str, str]:
    return {
        "seed": str(trainer.plan.seed),
        "steps": str(trainer.step),
        "minutes": f"{trainer.seconds / 60:.1f}",
        "device": f"{os.cpu_count()} CPU cores",
        "pictures": str(trainer.pictures),
        "photograph_share": "0",
        "trained_on": "{}",
    }


def _export(trainer: Trainer) -> Path:
    """Write the finished checkpoint with its scores."""
    plan = trainer.plan
    save_network(plan.output, trainer.averaged_network(), _metadata(trainer))
    record_scores(plan.output, plan.judged_on)
    return plan.output


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time to train, over all restarts")
    length.add_argument("--steps", type=int, help="steps to train")
    parser.add_argument("--output", type=Path, default=Path("training/runs/builtin.safetensors"))
    parser.add_argument("--run", type=Path, default=Path("training/runs/builtin"))
    parser.add_argument(
        "--image-sizes", type=int, nargs="+", default=Plan.image_sizes, help="one part each"
    )
    parser.add_argument("--batch-size", type=int, default=Plan.batch_size)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    flags = vars(parser.parse_args())
    output = train(Plan(**{**flags, "image_sizes": tuple(flags["image_sizes"])}))
    print(describe(output))


if __name__ == "__main__":
    main()
