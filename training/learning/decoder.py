"""The decoder in training: one step, its running average, its state between two runs.

A lesson is what an annotator does: a click or a box, then clicks that correct the mask shown, each
with that mask as a prompt (Segment Anything, Kirillov et al., ICCV 2023, appendix A). Two forces
keep the decoder near the decoder that it began as, its base:

- Each step pulls the weights towards those of the base (L2-SP, Li et al., "Explicit Inductive Bias
  for Transfer Learning with Convolutional Networks", ICML 2018).
- Half of the lessons are of synthetic scenes (Robins, "Catastrophic Forgetting, Rehearsal and
  Pseudorehearsal", Connection Science 1995).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.architecture import DECODER_PARTS
from model.network.mobile_sam import MobileSAM
from model.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING
from training.learning.lessons import Batch, Lessons
from training.losses import answer_loss, correction_loss, mask_ious
from training.prompts import PromptBatch, correction_clicks, drawn_boxes, first_clicks

_BALANCE = 0.25  # see mask_losses; the value that the training of the base ends with
_CLICK_SHARE = 0.6  # of the lessons begin with a click, the others with a box
_MASK_PROMPT_SHARE = 0.9  # of the corrections that also see the mask they correct
_LARGEST_GRADIENT = 1.0
_WARM_UP_STEPS = 20  # Adam's first steps change every weight by the whole learning rate


@dataclass(frozen=True)
class Recipe:
    """How the decoder learns. ``docs/learning.md`` says what comes of it.

    Attributes:
        steps: the largest number of steps.
        learning_rate: after a short warm-up; it falls to zero along a cosine.
        objects: of the project in each step.
        scene_objects: of synthetic scenes in each step, at least 1.
        corrections: clicks that follow on each first answer.
        pull: the share of the way back to the base that the weights go in each step at the
            highest learning rate.
        average_decay: of the running average of the weights.
    """

    steps: int = 400
    learning_rate: float = 1e-4
    objects: int = 8
    scene_objects: int = 8
    corrections: int = 3
    pull: float = 1e-3
    average_decay: float = 0.99


class DecoderTrainer:
    """The decoder of one network, and its base.

    Args:
        network: as the checkpoint has it. Its decoder changes, its encoder does not.
        recipe: how to learn.
        device: ``cpu`` or ``cuda``.
        seed: of the order of lessons and of the clicks.
    """

    def __init__(self, network: MobileSAM, recipe: Recipe, device: str, seed: int = 0) -> None:
        self.recipe = recipe
        self.device = device
        self.step = 0
        self._base = network.to(device).requires_grad_(False).eval()
        self._learner = copy.deepcopy(self._base)
        self._parameters = dict(_learnt(self._learner))
        self._origin = dict(_learnt(self._base))
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)
        self._average = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )
        self._rng = np.random.default_rng(seed)
        torch.manual_seed(seed)

    def train_step(self, own: Lessons, scenes: Lessons, progress: float) -> float:
        """Learn some objects of the project and of the scenes.

        Args:
            own: the lessons of the project.
            scenes: the lessons of synthetic scenes.
            progress: how much of the run is done, 0 to 1.

        Returns:
            The mean loss of the project's objects.
        """
        loss = self._practise(self._choose(own, self.recipe.objects))
        self._practise(self._choose(scenes, self.recipe.scene_objects))
        warm = min(1.0, (self.step + 1) / _WARM_UP_STEPS)
        self._change_weights(warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
        return loss

    def _choose(self, lessons: Lessons, count: int) -> Batch:
        weights = lessons.weights / lessons.weights.sum()
        return lessons.select(self._rng.choice(len(lessons), count, p=weights), self.device)

    def _practise(self, batch: Batch) -> float:
        """Gradients of the first answers and of each correction. Returns the mean loss."""
        prompts, is_click = _first_prompts(batch)
        masks: Tensor | None = None
        total = 0.0
        for _ in range(1 + self.recipe.corrections):
            loss, masks = self._answer(batch, prompts, is_click, masks)
            (loss / (1 + self.recipe.corrections)).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            with torch.no_grad():
                click, label = correction_clicks(masks, batch.targets, batch.known)
            prompts = prompts.with_click(click, label)
            is_click = torch.zeros_like(is_click)
        return total / (1 + self.recipe.corrections)

    def _answer(
        self, batch: Batch, prompts: PromptBatch, is_click: Tensor, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The mean loss of the answers, and the masks that an annotator would see."""
        sees_mask = torch.rand(len(batch), device=self.device) < _MASK_PROMPT_SHARE
        low_res_masks, ious = _decode(self._learner, batch, prompts, masks, sees_mask)
        if masks is None:
            twice = batch.targets[:, None].expand(-1, 2, -1, -1)
            loss = answer_loss(low_res_masks, ious, twice, batch.known, is_click, _BALANCE)
        else:
            loss = correction_loss(low_res_masks, ious, batch.targets, batch.known, _BALANCE)
        return loss.mean(), _shown(low_res_masks, ious, is_click)

    def _change_weights(self, rate: float) -> None:
        """A step along the gradients, which are forgotten. ``rate`` is a share of the highest."""
        nn.utils.clip_grad_norm_(list(self._parameters.values()), _LARGEST_GRADIENT)
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        with torch.no_grad():
            weights = [p.data for p in self._parameters.values()]
            base = [p.data for p in self._origin.values()]
            torch._foreach_lerp_(weights, base, self.recipe.pull * rate)
            decay = min(self.recipe.average_decay, self.step / (10 + self.step))
            torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    @torch.no_grad()
    def mean_ious(self, lessons: Lessons, share: float = 1.0) -> list[float]:
        """How good the averaged decoder is now, on lessons that it does not learn.

        The clicks are the same each time.

        Args:
            lessons: what to find.
            share: see :meth:`averaged_network`.

        Returns:
            The mean IoU of the first answers, and after each correction, weighted as the lessons
            are.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = self.averaged_network(share)
            found = [self._ious(network, lessons, rows) for rows in _chunks(len(lessons))]
        if not found:
            return []
        means: list[float] = np.average(np.concatenate(found), 0, lessons.weights).tolist()
        return means

    def _ious(
        self, network: MobileSAM, lessons: Lessons, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        batch = lessons.select(rows, self.device)
        prompts, is_click = _first_prompts(batch)
        masks: Tensor | None = None
        ious = []
        for _ in range(1 + self.recipe.corrections):
            sees_mask = torch.ones(len(batch), dtype=torch.bool, device=self.device)
            answers = _decode(network, batch, prompts, masks, sees_mask)
            masks = _shown(*answers, is_click)
            ious.append(mask_ious(masks[:, None], batch.targets[:, None], batch.known)[:, 0, 0])
            prompts = prompts.with_click(*correction_clicks(masks, batch.targets, batch.known))
            is_click = torch.zeros_like(is_click)
        return torch.stack(ious, dim=1).double().cpu().numpy()

    @torch.no_grad()
    def averaged_network(self, share: float = 1.0) -> MobileSAM:
        """The network with the averaged decoder.

        Args:
            share: of the way from the base to the averaged weights. In between, much of what was
                learnt is there and little is forgotten (Wortsman et al., "Robust fine-tuning of
                zero-shot models", CVPR 2022).
        """
        network = copy.deepcopy(self._base)
        for name, parameter in _learnt(network):
            parameter.lerp_(self._average[name], share)
        return network

    def tensors(self, share: float = 1.0) -> dict[str, npt.NDArray[np.float32]]:
        """All tensors of :meth:`averaged_network`'s decoder, by the names of the checkpoint."""
        tensors = self.averaged_network(share).state_dict()
        return {
            name: value.cpu().numpy()
            for name, value in tensors.items()
            if name.startswith(DECODER_PARTS)
        }

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "weights": {name: p.detach() for name, p in self._parameters.items()},
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "rng": self._rng.bit_generator.state,
            "torch": torch.get_rng_state(),
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for name, value in state["weights"].items():
            self._parameters[name].copy_(value)
        for name, value in state["average"].items():
            self._average[name].copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self._rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch"].cpu())


def _learnt(network: MobileSAM) -> list[tuple[str, nn.Parameter]]:
    """All parameters but those of the image encoder. The decoder has no BatchNorm."""
    return [
        (name, parameter)
        for name, parameter in network.named_parameters()
        if not name.startswith("image_encoder.")
    ]


def _first_prompts(batch: Batch) -> tuple[PromptBatch, Tensor]:
    """A click or a box on each object, and which are clicks."""
    count, device = len(batch), batch.targets.device
    size = 4 * batch.targets.shape[-1]
    is_click = torch.rand(count, device=device) < _CLICK_SHARE
    click = first_clicks(batch.targets)
    clicks = torch.stack([click, torch.zeros_like(click)], dim=1)
    coords = torch.where(is_click[:, None, None], clicks, drawn_boxes(batch.boxes, size))
    labels = torch.where(
        is_click[:, None],
        torch.tensor([FOREGROUND, PADDING], device=device),
        torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], device=device),
    )
    return PromptBatch(torch.arange(count, device=device), coords, labels), is_click


def _decode(
    network: MobileSAM,
    batch: Batch,
    prompts: PromptBatch,
    masks: Tensor | None,
    sees_mask: Tensor,
) -> tuple[Tensor, Tensor]:
    """low_res_masks, B x 4 x S/4 x S/4 logits, and iou_predictions, B x 4."""
    encode = network.prompt_encoder
    inputs = None if masks is None else masks[:, None]
    sparse, dense = encode(prompts.point_coords, prompts.point_labels, inputs)
    if masks is not None:
        without = encode.no_mask_embed.weight[:, :, None, None]
        dense = torch.where(sees_mask[:, None, None, None], dense, without)
    answers: tuple[Tensor, Tensor] = network.mask_decoder(
        batch.features, encode.image_pe(), sparse, dense
    )
    return answers


@torch.no_grad()
def _shown(low_res_masks: Tensor, ious: Tensor, is_click: Tensor) -> Tensor:
    """The masks that annotators see, B x h x w: after one click the best of three, as expected."""
    answer = torch.where(is_click, 1 + ious[:, 1:].argmax(1), 0)
    return low_res_masks[torch.arange(len(answer), device=answer.device), answer].detach()


def _chunks(count: int, size: int = 16) -> list[npt.NDArray[np.int64]]:
    return [np.arange(begin, min(begin + size, count)) for begin in range(0, count, size)]
