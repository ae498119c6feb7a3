"""The programs that are measured, each in a process of its own.

    python -m benchmarks.subjects NAME CHECKPOINT REPETITIONS

| name                 | what runs                                                               |
|----------------------|-------------------------------------------------------------------------|
| ours ENGINE PRECISION | the predictor as the backend uses it, with our own brush RLE           |
| original             | our modules as the original code runs them: torch fp32, BatchNorms not  |
|                      | folded, float pixels, the mask upsampled as floats, the SDK's brush RLE |
| ultralytics          | Ultralytics' SAM on the same weights, all cores given to it             |
| floor                | matrix products alone                                                   |

Prints one line of JSON: milliseconds by the name of the measurement, and further figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.agreement import as_kept, photograph
from benchmarks.timing import median_ms
from demo.backend import ROOT

Pixels = npt.NDArray[np.uint8]
Measured = dict[str, float | str]

SIZES = {"1080p": (1920, 1080), "12 MP": (4000, 3000)}  # width, height
SIDE = 1024  # of the input frame
CLICK = (0.7, 0.3)  # (x, y), fractions of the image: an object of a tenth of it


def main() -> None:
    """Measure and print."""
    name, checkpoint, repetitions = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    kind, *choice = name.split()
    measure: dict[str, Callable[..., Measured]] = {
        "ours": _ours,
        "original": _original,
        "ultralytics": _ultralytics,
        "floor": _floor,
    }
    print(json.dumps(measure[kind](checkpoint, repetitions, *choice)))


def measured_in_own_process(name: str, checkpoint: Path, repetitions: int) -> dict[str, Any]:
    """What this program prints about one subject."""
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.subjects"]
    said = subprocess.run(
        [*command, name, checkpoint, str(repetitions)], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    measured: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return measured


def image(size: str) -> Pixels:
    """The photograph that is clicked on, H x W x 3 uint8 RGB, in one of :data:`SIZES`."""
    return np.asarray(Image.fromarray(photograph("coffee")).resize(SIZES[size]))


def click(size: str) -> tuple[float, float]:
    """The click: (x, y) in pixels of that photograph."""
    width, height = SIZES[size]
    return CLICK[0] * width, CLICK[1] * height


def _ours(checkpoint: Path, repetitions: int, engine: str, precision: str) -> Measured:
    from model import ImageEmbedding, Prompt, load_predictor
    from model.formats import brush_rle

    predictor = load_predictor(checkpoint, engine, precision, checkpoint.parent)  # type: ignore[arg-type]

    def answer(embedding: ImageEmbedding, prompt: Prompt) -> list[int]:
        return brush_rle.encode(predictor.predict(embedding, prompt).mask)

    measured: Measured = {"description": predictor.engine.description}
    for size in SIZES:
        pixels = image(size)
        embedding = as_kept(predictor.embed(pixels))
        prompt = Prompt.from_points([click(size)])

        measured[f"encode {size}"] = median_ms(partial(predictor.embed, pixels), repetitions)
        measured[f"click {size}"] = median_ms(partial(answer, embedding, prompt), 3 * repetitions)
    return measured


def _original(checkpoint: Path, repetitions: int) -> Measured:
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from model import transforms
    from model.network.checkpoint import read_network

    network = read_network(checkpoint)
    side = network.config.image_size

    def embed(pixels: Pixels) -> Tensor:
        resized = torch.from_numpy(transforms.resize_image(pixels, side).copy())
        features: Tensor = network.image_encoder(
            network.preprocess(resized.permute(2, 0, 1).unsqueeze(0))
        )
        return features

    def answer(features: Tensor, size: str) -> list[int]:
        width, height = SIZES[size]
        coords = np.array([[click(size), (0, 0)]], np.float32)
        coords = transforms.points_to_input_frame(coords, (height, width), side)
        masks, _ = network.decode(features, torch.from_numpy(coords), torch.tensor([[1, -1]]), None)
        frame = F.interpolate(masks[:, :1], (side, side), mode="bilinear", align_corners=False)
        rows, columns = transforms.input_size((height, width), side)
        frame = frame[..., :rows, :columns]
        logits = F.interpolate(frame, (height, width), mode="bilinear", align_corners=False)
        return _sdk_rle((logits[0, 0] > 0).numpy())

    with torch.no_grad():
        return _measured(embed, answer, repetitions)


def _ultralytics(checkpoint: Path, repetitions: int) -> Measured:
    # Ultralytics keeps its settings beside the checkpoint, and fetches nothing.
    os.environ.update(  # noqa: TID251
        YOLO_CONFIG_DIR=str(checkpoint.parent), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false"
    )
    import torch
    from ultralytics.models.sam import Predictor

    cores = os.cpu_count() or 1
    # Ultralytics tells the architecture by the file's name.
    predictor = Predictor(
        overrides={
            "model": str(checkpoint),
            "imgsz": SIDE,
            "conf": 0.0,
            "verbose": False,
            "save": False,
        }
    )
    predictor.setup_model(verbose=False)
    default_threads = torch.get_num_threads()
    torch.set_num_threads(cores)

    def embed(pixels: Pixels) -> None:
        predictor.set_image(pixels[..., ::-1])

    def answer(_: None, size: str) -> list[int]:
        (result,) = predictor(points=[click(size)], labels=[1])
        return _sdk_rle(result.masks.data[0].cpu().numpy())

    measured = _measured(embed, answer, repetitions)
    if torch.get_num_threads() != cores:
        raise RuntimeError("Ultralytics took its cores away again")
    return {**measured, "default threads": default_threads}


def _floor(checkpoint: Path, repetitions: int) -> Measured:
    """How fast the encoder's arithmetic would be as one large matrix product."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from model.network.checkpoint import load_network

    network = load_network(checkpoint)
    side = network.config.image_size
    with FlopCounterMode(display=False) as counter:
        network.image_encoder(torch.zeros(1, 3, side, side))
    measured: Measured = {"encoder GFLOP": counter.get_total_flops() / 1e9}
    order = 4096
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        factor = torch.ones(order, order, dtype=dtype)
        product_ms = median_ms(partial(torch.matmul, factor, factor), repetitions)
        measured[f"{name} GFLOP/s"] = 2 * order**3 / product_ms / 1e6
    return measured


def _measured(
    embed: Callable[[Pixels], Any], answer: Callable[[Any, str], list[int]], repetitions: int
) -> Measured:
    measured: Measured = {}
    for size in SIZES:
        pixels = image(size)
        measured[f"encode {size}"] = median_ms(partial(embed, pixels), repetitions)
        embedding = embed(pixels)
        measured[f"click {size}"] = median_ms(partial(answer, embedding, size), 2 * repetitions)
    return measured


def _sdk_rle(mask: npt.NDArray[np.bool_]) -> list[int]:
    from label_studio_sdk.converter.brush import mask2rle

    if not mask.any():
        raise RuntimeError("the mask is empty: its time says nothing")
    rle: list[int] = mask2rle(mask.astype(np.uint8) * 255)
    return rle


if __name__ == "__main__":
    main()
