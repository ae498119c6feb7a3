"""The network in training: its steps, its running average, and its state between two runs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from model.architecture import MobileSAMConfig
from model.network.mobile_sam import MobileSAM
from model.network.prompt_encoder import PromptEncoder
from training.augmentation import Frames
from training.losses import WHOLE_SHARE, answer_loss, correction_loss, mask_losses
from training.muon import Muon
from training.prompts import PromptBatch, Questions, ask, correction_clicks
from training.replay import Replay

PEAK_LEARNING_RATE = 1e-3
_WARM_UP = 0.02  # share of the run
_BALANCE_AT_END = 0.25
_CORRECTED_SHARE = 0.5
_CORRECTIONS = 3  # clicks that follow on each mask that is corrected
_MASK_PROMPT_SHARE = 0.75  # of the corrections that also see the mask they correct
_AVERAGE_DECAY = 0.998
_LARGEST_GRADIENT = 5.0


class Trainer:
    """One network and all that changes with it.

    Args:
        config: of the network; ``image_size`` may change later.
        seed: of the first weights.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, config: MobileSAMConfig, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.config = config
        self.network = MobileSAM(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.step = 0
        self.pictures = 0  # in all steps together
        self._learning_rate = torch.zeros((), device=device)
        self._optimizers = self._new_optimizers()
        self._average = {name: value.clone() for name, value in self._state_dict().items()}
        self._replay = Replay(self._learn, self._forget_gradients)

    def _new_optimizers(self) -> list[torch.optim.Optimizer]:
        named = list(self.network.named_parameters())
        matrices = [p for name, p in named if _is_matrix(name, p)]
        others = [p for name, p in named if not _is_matrix(name, p)]
        on_gpu = self.device == "cuda"
        return [
            Muon(matrices, self._learning_rate, weight_decay=0.05, momentum=0.95),
            torch.optim.AdamW(
                others, self._learning_rate, betas=(0.9, 0.98), weight_decay=0.0,
                capturable=on_gpu, fused=on_gpu,
            ),
        ]  # fmt: skip

    def set_image_size(self, image_size: int) -> None:
        """Go on with input frames of another side: no weight depends on it."""
        if image_size == self.config.image_size:
            return
        self.config = dataclasses.replace(self.config, image_size=image_size)
        self.network.config = self.config
        encoder = PromptEncoder(
            image_size, self.config.embedding_width, self.config.mask_prompt_width
        )
        self.network.prompt_encoder.image_size = encoder.image_size
        self.network.prompt_encoder.grid_size = encoder.grid_size
        self._replay = Replay(self._learn, self._forget_gradients)

    def train_step(self, frames: Frames, progress: float) -> Tensor:
        """One step.

        Args:
            frames: of the network's image size, on its device.
            progress: how much of the run is done, 0 to 1.

        Returns:
            The loss, a scalar on the device.
        """
        self.network.train()
        self._learning_rate.fill_(PEAK_LEARNING_RATE * schedule(progress))
        balance = max(_BALANCE_AT_END, 1 - 1.5 * progress)
        with torch.no_grad():
            questions = ask(frames)
        loss = self._replay(
            frames.images, torch.tensor(balance, device=self.device), *questions.tensors
        )
        self.step += 1
        self.pictures += len(frames.images)
        self._update_average()
        return loss

    def _learn(self, images: Tensor, balance: Tensor, *questions: Tensor) -> Tensor:
        """Loss, gradients and new weights. A CUDA graph may hold all of it."""
        loss = self._loss(images, balance, Questions.of_tensors(questions))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        for optimizer in self._optimizers:
            optimizer.step()
        return loss.detach()

    def _forget_gradients(self) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _autocast(self) -> torch.autocast:
        # A CUDA graph must not keep cast weights from one step for the next.
        return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)

    def _loss(self, images: Tensor, balance: Tensor, questions: Questions) -> Tensor:
        normalised = self.network.preprocess(images)
        with self._autocast():
            embeddings = self.network.image_encoder(
                normalised.contiguous(memory_format=torch.channels_last)
            )
        embeddings = embeddings.float()
        prompts = questions.prompts
        with self._autocast():
            low_res_masks, iou_predictions = self.network.decode(
                embeddings[prompts.image_index], prompts.point_coords, prompts.point_labels, None
            )
        first = answer_loss(
            low_res_masks, iou_predictions, questions.targets, questions.known,
            questions.is_single_click, balance,
        )  # fmt: skip
        chosen = torch.rand(len(first), device=self.device).argsort()
        chosen = chosen[: math.ceil(_CORRECTED_SHARE * len(first))]
        masks, targets = self._shown(
            low_res_masks[chosen], iou_predictions[chosen], questions, chosen, balance
        )
        corrected = self._correct(
            embeddings, prompts.select(chosen), masks, targets, questions.known[chosen], balance
        )
        weight = questions.weight
        return (weight * first).mean() + 0.5 * (weight[chosen] * corrected).mean()

    @torch.no_grad()
    def _shown(
        self,
        low_res_masks: Tensor,
        iou_predictions: Tensor,
        questions: Questions,
        chosen: Tensor,
        balance: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The masks to correct, and what was meant: the whole object or a part.

        After a single click, half of the masks are the one that the network itself expects to be
        best, as annotators see it. The other half are the best of the three.
        """
        means_part = torch.rand(len(chosen), device=self.device) > WHOLE_SHARE
        index = torch.arange(len(chosen), device=self.device)
        targets = questions.targets[chosen, means_part.long()]
        known = questions.known[chosen]
        losses = mask_losses(low_res_masks, targets[:, None], known, balance)[..., 0]
        by_itself = torch.rand(len(chosen), device=self.device) < 0.5
        best = torch.where(by_itself, iou_predictions[:, 1:].argmax(1), losses[:, 1:].argmin(1))
        answer = torch.where(questions.is_single_click[chosen], best + 1, 0)
        return low_res_masks[index, answer].float(), targets

    def _correct(
        self,
        embeddings: Tensor,
        prompts: PromptBatch,
        masks: Tensor,
        targets: Tensor,
        known: Tensor,
        balance: Tensor,
    ) -> Tensor:
        """The mean loss of each prompt after more clicks, mostly with the earlier mask."""
        encode = self.network.prompt_encoder
        without = encode.no_mask_embed.weight[:, :, None, None]
        total = torch.zeros(len(masks), device=self.device)
        for _ in range(_CORRECTIONS):
            with torch.no_grad():
                click, label = correction_clicks(masks, targets, known)
                sees_mask = torch.rand(len(masks), device=self.device) < _MASK_PROMPT_SHARE
            prompts = prompts.with_click(click, label)
            with self._autocast():
                sparse, dense = encode(prompts.point_coords, prompts.point_labels, masks[:, None])
                dense = torch.where(sees_mask[:, None, None, None], dense, without.to(dense.dtype))
                low_res_masks, iou_predictions = self.network.mask_decoder(
                    embeddings[prompts.image_index], encode.image_pe(), sparse, dense
                )
            total = total + correction_loss(low_res_masks, iou_predictions, targets, known, balance)
            masks = low_res_masks[:, 0].detach().float()
        return total / _CORRECTIONS

    def _state_dict(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.network.state_dict()
        return state

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        averages, values = [], []
        for name, value in self._state_dict().items():
            if value.is_floating_point():
                averages.append(self._average[name])
                values.append(value)
            else:  # a counter
                self._average[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)

    def averaged_network(self) -> MobileSAM:
        """A network with the averaged weights, on the CPU."""
        network = MobileSAM(self.config)
        network.load_state_dict(self._average)
        return network

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, except for the place in the run."""
        return {
            "network": self._state_dict(),
            "average": self._average,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self.step,
            "pictures": self.pictures,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of any image size."""
        self.network.load_state_dict(state["network"])
        for name, value in state["average"].items():
            self._average[name].copy_(value)
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
            for group in optimizer.param_groups:  # the loaded copies would never change
                group["lr"] = self._learning_rate
        self.step = state["step"]
        self.pictures = state["pictures"]
        self._replay = Replay(self._learn, self._forget_gradients)


def schedule(progress: float) -> float:
    """The share of the peak learning rate: a short warm-up, then a cosine to zero."""
    if progress < _WARM_UP:
        return max(0.01, progress / _WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon trains it: the weights of linear layers, but no embedding and no bias."""
    others = ("embed", "bias", "iou_token", "mask_tokens")
    return parameter.dim() == 2 and not any(part in name for part in others)
