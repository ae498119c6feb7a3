"""Labeling configs that load in Label Studio and bring no mask."""

from pathlib import Path

import pytest

from backend.regions.config_check import faults

EXAMPLES = Path(__file__).parents[3] / "examples"
GOOD = (EXAMPLES / "keypoints-and-boxes.xml").read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.xml")), ids=lambda path: path.stem)
def test_every_example_is_in_order(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param('value="$image"', "", "no Image tag", id="no-image"),
        pytest.param(
            'smart="true"', 'smart="false"', 'smart="true" on <KeyPointLabels name="point">',
            id="nothing-smart",
        ),
        pytest.param(
            'name="brush" toName="image" smart="false"', 'name="brush" toName="image"',
            'write smart="false" on <BrushLabels name="brush">', id="smart-brush",
        ),
        pytest.param(
            '<BrushLabels name="brush" toName="image" smart="false">\n'
            '    <Label value="Object" background="#FF4D4F"/>\n',
            '<BrushLabels name="brush" toName="image" smart="false">',
            'the labels that <KeyPointLabels name="point"> has: "Object"',
            id="label-missing",
        ),
    ],
)  # fmt: skip
def test_each_fault_has_its_mend(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = faults(GOOD.replace(old, new))
    assert any(expected in fault for fault in found), found


def test_nothing_to_put_masks_in() -> None:
    config = (EXAMPLES / "keypoints.xml").read_text()
    before, _, rest = config.partition("<BrushLabels")
    (fault,) = faults(before + rest.partition("</BrushLabels>")[2])
    assert 'add <BrushLabels name="brush" toName="image" smart="false">' in fault


def test_points_without_labels() -> None:
    config = (EXAMPLES / "keypoints.xml").read_text()
    before, _, rest = config.partition("<KeyPointLabels")
    after = rest.partition("</KeyPointLabels>")[2]
    bare = f'<KeyPoint name="point" toName="image"/>{after}'
    assert "or make it KeyPointLabels" in " ".join(faults(before + bare))
    labels = '<Labels name="l" toName="image"><Label value="Third"/></Labels>'
    assert 'the labels that <Labels name="l"> has: "Third"' in " ".join(
        faults(before + labels + bare)
    )


def test_labels_of_the_task_are_not_known_beforehand() -> None:
    config = (EXAMPLES / "keypoints.xml").read_text()
    dynamic = config.replace('name="brush"', 'name="brush" value="$labels"')
    assert faults(dynamic.replace('<Label value="Other" background="#1677FF"/>', "", 1)) == []


def test_no_xml() -> None:
    with pytest.raises(ValueError, match="cannot be read as a labeling config"):
        faults("<View>")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param(
            'model_preannotate="box"',
            'model_preannotate of BrushLabels "brush" is "box" in the labeling config, and must be'
            ' "boxes" or "everything"',
            id="value",
        ),
        pytest.param(
            'model_preannotate="everything"',
            'choose one of "Object", "Other" (model_preannotate, model_preannotate_label)',
            id="no-label",
        ),
        pytest.param(
            'model_preannotate="everything" model_preannotate_label="Cat"',
            'cannot get the label "Cat"',
            id="unknown-label",
        ),
    ],
)
def test_masks_that_nobody_can_get(attributes: str, expected: str) -> None:
    (fault,) = faults(
        GOOD.replace('<BrushLabels name="brush"', f'<BrushLabels {attributes} name="brush"')
    )
    assert expected in fault


@pytest.mark.parametrize(
    "attributes",
    [
        'model_preannotate="boxes"',
        'model_preannotate="everything" model_preannotate_label="Object"',
    ],
)
def test_masks_before_a_click(attributes: str) -> None:
    assert faults(GOOD.replace("<BrushLabels", f"<BrushLabels {attributes}")) == []
