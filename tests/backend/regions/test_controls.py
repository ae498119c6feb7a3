"""The tags of a labeling config, against Label Studio's own reader of configs."""

import random
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config

from backend.regions.labeling_config import LabelingConfig

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.xml"))
CONTROLS = [
    "BrushLabels", "Brush", "PolygonLabels", "Polygon", "KeyPointLabels", "KeyPoint", "Labels",
    "RectangleLabels", "Rectangle", "EllipseLabels", "BitmaskLabels", "Choices", "TextArea",
    "Taxonomy", "Rating",
]  # fmt: skip
TEXTS = ["Object", "Other", "Straße & Weg", '"quoted"', "<tag>", " padded ", "車", "a,b", "$field"]


def odd_config(random_: random.Random) -> str:
    """A config as nobody would write it, but Label Studio would read it."""
    images = [f"image{index}" for index in range(random_.randint(0, 3))]
    tags = [f'<Image name="{name}" {source(random_)}/>' for name in images]
    for index in range(random_.randint(0, 5)):
        kind = random_.choice(CONTROLS)
        to_names = random_.sample([*images, "nobody"], random_.randint(1, len(images) + 1))
        attributes = {"name": f"tag{index}", "toName": ",".join(to_names)}
        for name, value in (("value", "$labels"), ("smart", "false"), ("apiUrl", "http://a/b")):
            if random_.random() < 0.2:
                attributes[name] = value
        tags.append(f"<{kind} {written(attributes)}>{labels(random_)}</{kind}>")
    random_.shuffle(tags)
    return f"<View>{''.join(nested(tag, random_) for tag in tags)}</View>"


def source(random_: random.Random) -> str:
    return random_.choice(
        ['value="$image"', 'value="$photo.url"', 'valueList="$pages"', 'value="$a[0]" zoom="true"']
    )


def labels(random_: random.Random) -> str:
    made = []
    for _ in range(random_.randint(0, 4)):
        names = [name for name in ("value", "alias", "background") if random_.random() < 0.6]
        attributes = {name: random_.choice(TEXTS) for name in names}
        made.append(nested(f"<Label {written(attributes)}/>", random_))
    return "".join(made)


def nested(tag: str, random_: random.Random) -> str:
    return random_.choice(
        [tag, f'<View style="x">{tag}</View>', f"<!-- note -->{tag}", f"\n {tag}"]
    )


def written(attributes: dict[str, str]) -> str:
    return " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())


def compare(xml: str) -> None:
    ours, theirs = LabelingConfig.parse(xml), parse_config(xml)
    assert [control.name for control in ours.controls] == list(theirs)
    for control in ours.controls:
        tag: dict[str, Any] = theirs[control.name]
        assert control.type == tag["type"]
        assert list(control.to_names) == tag["to_name"]
        assert list(dict.fromkeys(label.name for label in control.labels)) == tag["labels"]
        assert control.takes_any_label >= tag.get("dynamic_labels", False)
    images = [(one, tag) for tag in theirs.values() for one in tag["inputs"]]
    sources = [source.value.lstrip("$") for source in ours.image_variables.values()]
    assert set(sources) == {one.get("value") or one.get("valueList") for one, _ in images}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example(path: Path) -> None:
    compare(path.read_text())


@pytest.mark.parametrize("seed", range(500))
def test_odd_configs(seed: int) -> None:
    compare(odd_config(random.Random(seed)))


def test_values_and_aliases() -> None:
    (control,) = LabelingConfig.parse(
        """<View><BrushLabels name="brush" toName="image">
          <Label value="Car" alias="c"/><View><Label value="Bus"/></View><Label/><Label alias="x"/>
        </BrushLabels></View>"""
    ).controls
    assert [(label.value, label.alias) for label in control.labels] == [
        ("Car", "c"), ("Bus", None), ("x", "x"),
    ]  # fmt: skip
