"""Loads a folder as a training of YOLO-seg does: ``python yolo_loader.py FOLDER SIDE OUT``.

A process of its own, because an import of Ultralytics replaces functions of Pillow, OpenCV and
torch. Without augmentation, and masks at full size. OUT is an .npz file with the masks, the
classes and the size of each image, under the name of its file without the suffix.
"""

import sys
from pathlib import Path

import numpy as np
from ultralytics.data.augment import Format
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils import YAML

folder, side, out = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
data = YAML.load(folder / "data.yaml")
assert data["train"] == data["val"]
dataset = YOLODataset(
    img_path=str(folder / data["train"]),
    data={"names": data["names"], "nc": len(data["names"]), "channels": 3},
    task="segment",
    imgsz=side,
    augment=False,
    rect=True,
    stride=1,
    pad=0.0,
    batch_size=1,
)
for transform in dataset.transforms.transforms:
    if isinstance(transform, Format):
        transform.mask_ratio = 1
        transform.mask_overlap = False
arrays = {}
for index in range(len(dataset)):
    sample = dataset[index]
    name = Path(sample["im_file"]).stem
    arrays[f"masks/{name}"] = sample["masks"].numpy() > 0
    arrays[f"cls/{name}"] = sample["cls"].numpy()
    arrays[f"ori_shape/{name}"] = np.array(sample["ori_shape"])
np.savez_compressed(out, **arrays)
