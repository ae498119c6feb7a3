"""Compares rules for the choice among the three answers to one click.

    python -m training.choice DIR instances.json --photographs --scenes 40

The datasets are named as for ``training.evaluate``. The service chooses by predicted IoU. The table
has the mean IoU of each rule over the datasets, in which each dataset counts alike, and the number
of datasets with a higher or lower IoU than the service's choice. It has this for clicks in the
centre of an object, as the evaluation makes them, and for clicks anywhere on it. There is no crop
refinement.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from model.predictor import Predictor, load_predictor
from model.types import MaskPrediction, Prompt
from model.weights import BUILTIN_PATH
from training.evaluate import add_dataset_arguments, chosen_datasets
from training.labelled_images import LabelledDataset, LabelledImage
from training.protocol import iou, next_click, stability
from training.scenes import Bool

Numbers = npt.NDArray[np.float64]
_NOTICEABLE = 0.003  # IoU; a smaller difference on a dataset is no difference


@dataclass(frozen=True)
class Offer:
    """The three answers to one click. All arrays have three numbers, except for ``overlap``.

    Attributes:
        predicted: IoUs that the network expects.
        stable: of the masks, see ``training.protocol.stability``.
        central: how deep in the mask the click is, 0 at its edge to 1 at its deepest pixel.
        area: share of the picture.
        overlap: 3 x 3, IoUs of the masks with each other.
        held: 3 x 3, the share of the second mask that is in the first.
        actual: true IoUs.
    """

    predicted: Numbers
    stable: Numbers
    central: Numbers
    area: Numbers
    overlap: Numbers
    held: Numbers
    actual: Numbers


Rule = Callable[[Offer], Numbers]  # the answer with the highest number is chosen

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "predicted IoU (served)": lambda o: o.predicted,
        "stability": lambda o: o.stable,
        "predicted IoU x stability": lambda o: o.predicted * o.stable,
        "predicted IoU + 0.3 stability": lambda o: o.predicted + 0.3 * o.stable,
        "predicted IoU + 0.3 centre": lambda o: o.predicted + 0.3 * o.central,
        "predicted IoU + 0.15 centre + 0.3 stability": lambda o: (
            o.predicted + 0.15 * o.central + 0.3 * o.stable
        ),
        "predicted IoU + 0.2 agreement with the others": lambda o: (
            o.predicted + 0.2 * (o.overlap.sum(1) - 1) / 2
        ),
        "predicted IoU + 0.2 share of the others inside": lambda o: (
            o.predicted + 0.2 * (o.held.sum(1) - 1) / 2
        ),
        "predicted IoU + 0.02 log area": lambda o: o.predicted + 0.02 * np.log(o.area + 1e-4),
        "expected IoU, by softmax of predicted IoU / 0.1": lambda o: (
            o.overlap @ _softmax(o.predicted / 0.1)
        ),
        "expected IoU, by predicted IoU": lambda o: o.overlap @ np.clip(o.predicted, 0.01, 1),
        "best of the three (oracle)": lambda o: o.actual,
    }
)


def offers(
    predictor: Predictor, dataset: LabelledDataset, click: Callable[[Bool], tuple[int, int]]
) -> Iterator[Offer]:
    """The answers to one click on each object of a dataset."""
    for labelled in tqdm(dataset, desc=dataset.name, unit="image", mininterval=1):
        embedding = predictor.embed(labelled.image)
        for target in labelled.masks.values():
            x, y = click(target)
            prompt = Prompt.from_points([(x, y)])
            answers = predictor.predict_masks(embedding, prompt, multimask_output=True)
            yield _offer(answers, labelled, target, (x, y))


def _offer(
    answers: Sequence[MaskPrediction], labelled: LabelledImage, target: Bool, click: tuple[int, int]
) -> Offer:
    known = np.ones_like(target) if labelled.unknown is None else ~labelled.unknown
    masks = [answer.mask for answer in answers]
    area = np.array([mask.mean() for mask in masks])
    shared = np.array([[(first & second).mean() for second in masks] for first in masks])
    either = area[:, None] + area[None] - shared
    return Offer(
        predicted=np.array([answer.iou_prediction for answer in answers]),
        stable=np.array([stability(answer) for answer in answers]),
        central=np.array([_depth(mask, click) for mask in masks]),
        area=area,
        overlap=np.divide(shared, either, out=np.eye(3), where=either > 0),
        held=np.divide(shared, area[None], out=np.eye(3), where=area[None] > 0),
        actual=np.array([iou(mask & known, target) for mask in masks]),
    )


def in_the_centre(target: Bool) -> tuple[int, int]:
    """The first click of the evaluation."""
    x, y, _ = next_click(target, np.zeros_like(target), [])
    return x, y


def anywhere(target: Bool) -> tuple[int, int]:
    """A pixel of the object by lot, the same one each time."""
    rows, columns = np.nonzero(target)
    index = np.random.default_rng(len(rows)).integers(len(rows))
    return int(columns[index]), int(rows[index])


def compare(chosen: Mapping[str, Sequence[Offer]]) -> list[tuple[str, float, int, int]]:
    """The rules' mean IoU, and in how many datasets each is better and worse than the service's.

    Args:
        chosen: the offers of each dataset, by its name.
    """
    means = {
        name: np.array(
            [np.mean([o.actual[int(rule(o).argmax())] for o in some]) for some in chosen.values()]
        )
        for name, rule in RULES.items()
    }
    served = next(iter(means.values()))
    return [
        (
            name,
            float(own.mean()),
            int(np.count_nonzero(own > served + _NOTICEABLE)),
            int(np.count_nonzero(own < served - _NOTICEABLE)),
        )
        for name, own in means.items()
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.choice",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, default=BUILTIN_PATH, help="default: built-in")
    arguments = parser.parse_args()
    try:
        datasets = chosen_datasets(arguments)
        predictor = load_predictor(arguments.checkpoint, engine="torch", precision="fp32")
        for click in (in_the_centre, anywhere):
            found = {one.name: list(offers(predictor, one, click)) for one in datasets}
            words = click.__name__.replace("_", " ")
            print(f"\n| one click {words} | mean IoU | better | worse |\n|---|--:|--:|--:|")
            for name, mean, better, worse in compare(found):
                print(f"| {name} | {mean:.3f} | {better} | {worse} |")
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"training.choice: {error}") from error


def _softmax(values: Numbers) -> Numbers:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum())


def _depth(mask: Bool, click: tuple[int, int]) -> float:
    """Distance of the click to the mask's edge, as a share of the largest distance inside."""
    inside = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return float(inside[click[1] + 1, click[0] + 1] / max(inside.max(), 1.0))


if __name__ == "__main__":
    main()
