"""What doctor says of exports, against Label Studio's own converter.

``tests/data/annotations`` has, for each example, what the editor saved of a click, a box and their
masks, accepted so that the click and the box were left behind.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
from label_studio_sdk.converter import Converter

from backend.regions import rendering
from backend.regions.controls import Label
from backend.regions.exports import BRUSH_TO_COCO, COCO, FORMATS, VOC, YOLO, exports
from backend.regions.labeling_config import LabelingConfig
from backend.regions.prompts import Interaction
from model.types import MaskPrediction

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.xml"))
ANNOTATIONS = ROOT / "tests" / "data" / "annotations"
NAMES = dict(
    zip(
        FORMATS,
        ["COCO", "YOLO", "VOC", "BRUSH_TO_COCO", "BRUSH_TO_PNG", "BRUSH_TO_NUMPY"],
        strict=True,
    )
)
LABELS = '<Label value="Object"/><Label value="Other"/>'

Result = list[dict[str, Any]]


def recorded(example: Path) -> tuple[dict[str, Any], Result]:
    """The data of a task and its annotation, as the editor saved it."""
    saved = json.loads((ANNOTATIONS / f"{example.stem}.json").read_text())
    return saved["data"], saved["result"]


def without_prompts(result: Result) -> Result:
    """What the tick in the bottom bar saves: it removes the clicks and boxes of the annotator."""
    prompts = {r["id"] for r in result if re.match("point|box", r["from_name"])}
    return [region for region in result if region["id"] not in prompts]


def labels_of(result: Result) -> Counter[str]:
    """The label of every mask in an annotation."""
    of_region = {}
    for region in without_prompts(result):
        value = region["value"]
        labels = value.get(region["type"]) or value.get("labels")
        of_region.setdefault(region["id"], labels)
        of_region[region["id"]] = of_region[region["id"]] or labels
    return Counter(label for labels in of_region.values() for label in labels or ["no label"])


def exported(
    config: str, data: dict[str, Any], result: Result, name: str, folder: Path
) -> Counter[str]:
    """The label of every mask that the converter finds, in the format's own files."""
    task = {"id": 1, "data": data, "annotations": [{"id": 2, "result": result}]}
    source, target = folder / "in.json", folder / "out"
    target.mkdir()
    source.write_text(json.dumps([task]))
    converter = Converter(parse_config(config), project_dir=None, download_resources=False)
    assert NAMES[name] in converter.supported_formats, "Label Studio's export dialog hides it"
    converter.convert(str(source), str(target), NAMES[name], is_dir=False)
    return read(target, name)


def read(folder: Path, name: str) -> Counter[str]:
    if name in (COCO, BRUSH_TO_COCO):
        (path,) = folder.glob("*.json")
        coco = json.loads(path.read_text())
        classes = {category["id"]: category["name"] for category in coco["categories"]}
        return Counter(classes[one["category_id"]] for one in coco["annotations"])
    if name == YOLO:
        classes_of_lines = (folder / "classes.txt").read_text().splitlines()
        lines = [line for path in folder.glob("labels/*") for line in path.read_text().splitlines()]
        return Counter(classes_of_lines[int(line.split()[0])] for line in lines)
    if name == VOC:
        text = "".join(path.read_text() for path in folder.glob("Annotations/*.xml"))
        return Counter(re.findall(r"<object>\s*<name>(.*?)</name>", text))
    # a file for each mask and tag, both names in the name of the file
    found: dict[str, Counter[str]] = {}
    for path in folder.iterdir():
        tag, label, _ = path.stem.split("-by-")[1].lstrip("-").rsplit("-", 2)
        found.setdefault(tag, Counter())[label] += 1
    assert len({tuple(sorted(labels.items())) for labels in found.values()}) <= 1 or all(
        re.search(r"_\d$", tag) for tag in found
    )
    if any(re.search(r"_\d$", tag) for tag in found):
        return sum(found.values(), Counter())
    return next(iter(found.values()), Counter())


def is_exported(config: str, data: dict[str, Any], result: Result, name: str, to: Path) -> bool:
    """Whether the converter finds every mask once, with its label."""
    try:
        return exported(config, data, result, name, to) == labels_of(result)
    except (KeyError, TypeError, AssertionError):
        return False


def promised(example: Path) -> tuple[str, ...]:
    """The formats that the comment of an example names."""
    (line,) = re.findall(r"Exports: (.*)\.\n", example.read_text())
    return () if line.startswith("none") else tuple(line.split(", "))


class TestExamples:
    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
    def test_the_comment_is_right(self, example: Path, name: str, tmp_path: Path) -> None:
        data, result = recorded(example)
        works = is_exported(example.read_text(), data, without_prompts(result), name, tmp_path)
        assert works == (name in promised(example))

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
    def test_doctor_says_the_same(self, example: Path) -> None:
        assert exports(LabelingConfig.parse(example.read_text())).formats == promised(example)

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
    def test_points_and_boxes_that_are_left_behind(self, example: Path, tmp_path: Path) -> None:
        """No format fails on them, but Pascal VOC XML. A box is one more object, a point is not."""
        data, result = recorded(example)
        boxes = [r for r in result if r["type"] in ("rectangle", "rectanglelabels")]
        boxes = [r for r in boxes if r["from_name"].startswith("box")]
        for name in promised(example):
            folder = tmp_path / NAMES[name]
            folder.mkdir()
            if name == VOC:
                with pytest.raises(KeyError, match="height"):
                    exported(example.read_text(), data, result, name, folder)
                continue
            found = exported(example.read_text(), data, result, name, folder)
            more = len(boxes) if name in (COCO, YOLO, BRUSH_TO_COCO) else 0
            assert (found - labels_of(result)).total() == more
            assert not labels_of(result) - found


def config(*tags: str, image: str = '<Image name="image" value="$image"/>') -> str:
    """A config of shorthand tags: "Polygon" or 'KeyPoint smart="true"'."""
    written = []
    for tag in tags:
        kind = tag.split()[0]
        labels = LABELS if kind.endswith("Labels") else ""
        written.append(f'<{kind} name="{kind.lower()}" toName="image"{tag.removeprefix(kind)}>')
        written.append(f"{labels}</{kind}>")
    return f"<View>{image}{''.join(written)}</View>"


def annotated(xml: str) -> Result:
    """Masks of both labels, and what the editor adds: the label that is chosen in Labels."""
    mask = np.zeros((20, 30), np.bool_)
    mask[5:15, 8:20] = True
    prediction = MaskPrediction(mask, np.zeros((256, 256), np.float32), 0.9)
    parsed = LabelingConfig.parse(xml)
    result: Result = []
    for label in ("Object", "Other"):
        labels = (Label(label),)
        one = Interaction(next(iter(parsed.image_variables)), labels, points=((40, 50, 1),))
        output = parsed.output_for(one.to_name, labels)
        result += rendering.render(prediction, one, output)
        if output.control.has_labels and 'name="labels"' in xml:
            value = {**result[-1]["value"], "labels": [label]}
            del value[output.control.type.lower()]
            result.append(result[-1] | {"from_name": "labels", "type": "labels", "value": value})
    return result


POINTS = 'KeyPoint smart="true"'
LABELLED_POINTS = 'KeyPointLabels smart="true"'
SHAPES = [shape + suffix for suffix in ("", "Labels") for shape in ("Brush", "Polygon", "Ellipse")]
SHAPES += ["Bitmask", "BitmaskLabels", 'Rectangle smart="false"', 'RectangleLabels smart="false"']
CONFIGS = {
    f"{prompts} + {shape}": config(*prompts.split("+"), shape)
    for shape in SHAPES
    for prompts in (
        f"Labels+{POINTS}",
        f'Labels+{POINTS}+Rectangle model_output="false"',
        LABELLED_POINTS,
        f'{LABELLED_POINTS}+RectangleLabels model_output="false"',
        f"Labels+{LABELLED_POINTS}",
    )
    if not (shape.startswith("RectangleLabels") and "+RectangleLabels" in prompts)
    and not (shape.startswith("Rectangle ") and "+Rectangle " in prompts)
}
CONFIGS["nested field"] = config(
    "Labels", POINTS, "PolygonLabels", image='<Image name="image" value="$photo.url"/>'
)
CONFIGS["list"] = config(
    "Labels", POINTS, "PolygonLabels", image='<Image name="image" valueList="$pages"/>'
)
CONFIGS["two images"] = config(
    "Labels", POINTS, "BrushLabels",
    image='<Image name="image" value="$image"/><Image name="two" value="$two"/>',
).replace('toName="image"', 'toName="image,two"')  # fmt: skip
DATA = {
    "image": "/a.png",
    "photo": {"url": "/a.png"},
    "pages": ["/a.png", "/b.png"],
    "two": "/b.png",
}


class TestOtherConfigs:
    @pytest.mark.parametrize("xml", CONFIGS.values(), ids=CONFIGS.keys())
    def test_the_converter_agrees(self, xml: str, tmp_path: Path) -> None:
        result = annotated(xml)
        found = []
        for name in FORMATS:
            folder = tmp_path / NAMES[name]
            folder.mkdir()
            if is_exported(xml, DATA, result, name, folder):
                found.append(name)
        assert exports(LabelingConfig.parse(xml)).formats == tuple(found)

    @pytest.mark.parametrize("xml", CONFIGS.values(), ids=CONFIGS.keys())
    def test_what_is_offered_and_does_not_work_has_its_reason(self, xml: str) -> None:
        converter = Converter(parse_config(xml), project_dir=None)
        found = exports(LabelingConfig.parse(xml))
        for name in FORMATS:
            if NAMES[name] in converter.supported_formats and name not in found.formats:
                assert any(name in sentence.split(", because")[0] for sentence in found.obstacles)


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        pytest.param(
            [LABELLED_POINTS, "PolygonLabels"],
            "to COCO or YOLO, because Label Studio takes a config with"
            " <KeyPointLabels> for a pose project, and the classes are lost: use <Labels> and"
            ' <KeyPoint smart="true"> instead of <KeyPointLabels>',
            id="pose",
        ),
        pytest.param(
            ["Labels", POINTS, "Brush"],
            "to Brush labels to COCO, because the format takes masks of"
            " <BrushLabels> only: use <BrushLabels>",
            id="brush",
        ),
        pytest.param(
            [LABELLED_POINTS, "BitmaskLabels"],
            "because Label Studio converts no regions of <BitmaskLabels>: use <BrushLabels>",
            id="bitmask",
        ),
    ],
)
def test_each_obstacle_has_its_remedy(tags: list[str], sentence: str) -> None:
    (found,) = exports(LabelingConfig.parse(config(*tags))).obstacles
    assert found.startswith("Label Studio cannot export annotations of this config to ")
    assert sentence in found
