"""Which tag of a labeling config takes the masks, and with which labels."""

import pytest

from backend.regions.controls import Label
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig

LABELS = '<Label value="Object"/><Label value="Other"/>'


def config(*tags: str, image: str = '<Image name="image" value="$image"/>') -> LabelingConfig:
    """A config of shorthand tags: "Polygon" or 'PolygonLabels smart="false"'."""
    written = []
    for tag in tags:
        kind = tag.split()[0]
        labels = LABELS if kind.endswith("Labels") or kind == "Labels" else ""
        rest = tag.removeprefix(kind)
        written.append(f'<{kind} name="{kind.lower()}" toName="image"{rest}>{labels}</{kind}>')
    return LabelingConfig.parse(f"<View>{image}{''.join(written)}</View>")


KEYPOINTS = 'KeyPointLabels smart="true"'


class TestOutput:
    @pytest.mark.parametrize(
        ("tags", "expected"),
        [
            pytest.param(["BrushLabels", "PolygonLabels"], "brushlabels", id="brush-first"),
            pytest.param(["PolygonLabels", "BrushLabels"], "brushlabels", id="any-order"),
            pytest.param(["PolygonLabels", "BitmaskLabels"], "bitmasklabels", id="then-bitmask"),
            pytest.param(["EllipseLabels", "PolygonLabels"], "polygonlabels", id="then-polygon"),
            pytest.param(
                ['RectangleLabels smart="false"', "EllipseLabels"], "ellipselabels", id="ellipse"
            ),
            pytest.param(
                ["RectangleLabels", "EllipseLabels"], "ellipselabels", id="smart-box-prompts"
            ),
            pytest.param(["RectangleLabels"], "rectanglelabels", id="nothing-but-a-smart-box"),
            pytest.param(
                ["BrushLabels", 'PolygonLabels model_output="true"'], "polygonlabels", id="chosen"
            ),
            pytest.param(
                ["BrushLabels", 'RectangleLabels model_output="true"'],
                "rectanglelabels",
                id="smart-box-chosen",
            ),
            pytest.param(
                ['BrushLabels model_output="false"', "PolygonLabels"],
                "polygonlabels",
                id="ruled-out",
            ),
            pytest.param(["Labels", "Brush"], "brush", id="labels-brush"),
            pytest.param(["Labels", "Polygon", "Rectangle"], "polygon", id="labels-polygon"),
            pytest.param(["Labels", "Ellipse", "KeyPoint"], "ellipse", id="labels-ellipse"),
            pytest.param(["Labels", "Bitmask", "Polygon"], "bitmask", id="labels-bitmask"),
        ],
    )
    def test_one_tag_takes_the_masks(self, tags: list[str], expected: str) -> None:
        output = config(KEYPOINTS, *tags).output_for("image", [Label("Object")])
        assert output.control.name == expected
        assert (output.labels_control is not None) == ("Labels" in tags)
        assert (output.tolerance, output.max_vertices) == (1.0, 500)

    def test_the_tag_that_has_the_label_takes_its_masks(self) -> None:
        xml = """<View><Image name="image" value="$image"/>
          <BrushLabels name="stuff" toName="image"><Label value="Sky"/></BrushLabels>
          <PolygonLabels name="things" toName="image"><Label value="Car"/></PolygonLabels>
          <RectangleLabels name="box" toName="image"><Label value="Only here"/></RectangleLabels>
        </View>"""
        both = LabelingConfig.parse(xml)
        assert both.output_for("image", [Label("Sky")]).control.name == "stuff"
        assert both.output_for("image", [Label("Car")]).control.name == "things"
        # the smart rectangle prompts: a mask of it would be a surprise
        with pytest.raises(
            UnanswerableRequestError,
            match='BrushLabels "stuff", PolygonLabels "things" has no label "Only here": add it',
        ):
            both.output_for("image", [Label("Only here")])

    def test_settings_of_the_tag(self) -> None:
        tag = 'PolygonLabels model_tolerance="2.5" model_max_vertices="60"'
        output = config(KEYPOINTS, tag).output_for("image", [Label("Other")])
        assert (output.tolerance, output.max_vertices) == (2.5, 60)

    @pytest.mark.parametrize(
        ("attribute", "sentence"),
        [
            ('model_tolerance="-1"', 'is "-1" .* must be a number from 0 to 100'),
            ('model_tolerance="one"', 'model_tolerance of PolygonLabels "polygonlabels" is "one"'),
            ('model_tolerance="nan"', "must be a number"),
            ('model_max_vertices="3"', "must be a number from 4 to 100000"),
            ('model_output="yes"', 'must be "true" or "false"'),
        ],
    )
    def test_a_setting_that_cannot_be_used_is_named(self, attribute: str, sentence: str) -> None:
        with pytest.raises(UnanswerableRequestError, match=sentence):
            config(KEYPOINTS, f"PolygonLabels {attribute}").output_for("image", [Label("Object")])

    def test_a_config_without_an_output_is_named(self) -> None:
        with pytest.raises(
            UnanswerableRequestError, match='no tag for the image "image" to put masks'
        ):
            config(KEYPOINTS).output_for("image", [Label("Object")])

    def test_no_label_is_named(self) -> None:
        with pytest.raises(UnanswerableRequestError, match="no label was chosen"):
            config("BrushLabels").output_for("image", [])


def tools(brush: str, point: str = "", **attributes: str) -> LabelingConfig:
    """BrushLabels and KeyPointLabels with these Label tags, and attributes on both."""
    written = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return LabelingConfig.parse(
        f"""<View><Image name="image" value="$image"/>
          <BrushLabels name="brush" toName="image"{written}>{brush}</BrushLabels>
          <KeyPointLabels name="point" toName="image"{written}>{point or brush}</KeyPointLabels>
        </View>"""
    )


class TestLabels:
    """What is written into a mask: the label as the mask's own tag has it."""

    def test_two_labels(self) -> None:
        two = [Label("Object"), Label("Other")]
        assert tools(LABELS).output_for("image", two).labels == ("Object", "Other")
        with pytest.raises(UnanswerableRequestError, match='has no label "Third": add'):
            tools(LABELS).output_for("image", [Label("Object"), Label("Third")])
        beside = config("Labels", "Brush").output_for("image", two)
        assert beside.labels == ("Object", "Other")
        assert beside.labels_control is not None

    def test_no_label(self) -> None:
        with pytest.raises(UnanswerableRequestError, match="no label was chosen"):
            tools(LABELS).output_for("image", [])
        assert tools(LABELS, allowEmpty="true").output_for("image", []).labels == ()

    @pytest.mark.parametrize(
        ("point", "brush", "clicked", "written"),
        [
            ('<Label value="Car" alias="c"/>', '<Label value="Car" alias="c"/>', "c", "c"),
            ('<Label value="Car" alias="c"/>', '<Label value="Car"/>', "c", "Car"),
            ('<Label value="Car"/>', '<Label value="Car" alias="c"/>', "Car", "c"),
            ('<Label value="Auto" alias="c"/>', '<Label value="Car" alias="c"/>', "c", "c"),
            ('<Label value="c"/>', '<Label value="Car" alias="c"/>', "c", "c"),
        ],
    )
    def test_aliases(self, point: str, brush: str, clicked: str, written: str) -> None:
        tags = tools(brush, point)
        output = tags.output_for("image", [tags.label("point", clicked)])
        assert output.labels == (written,)

    @pytest.mark.parametrize(
        ("value", "data"),
        [
            pytest.param("$labels2", {"labels2": [{"value": "Cat"}]}, id="field"),
            pytest.param("$meta.labels", {"meta": {"labels": [{"value": "Cat"}]}}, id="nested"),
            pytest.param("$sets[0].labels", {"sets": [{"labels": [{"value": "Cat"}]}]}, id="item"),
            pytest.param("$labels", {"labels": ["Cat"]}, id="texts"),
        ],
    )
    def test_labels_of_the_task(self, value: str, data: dict) -> None:
        tags = tools('<Label value="Rest"/>', value=value).for_task({"data": data})
        assert tags.output_for("image", [Label("Cat")]).labels == ("Cat",)
        assert tags.output_for("image", [Label("Rest")]).labels == ("Rest",)
        with pytest.raises(UnanswerableRequestError, match='no label "Dog"'):
            tags.output_for("image", [Label("Dog")])

    def test_aliases_of_the_task(self) -> None:
        data = {"labels": [{"value": "Cat", "alias": "c"}]}
        tags = tools("", value="$labels").for_task({"data": data})
        assert tags.output_for("image", [tags.label("point", "c")]).labels == ("c",)

    @pytest.mark.parametrize(
        "tags",
        [
            pytest.param(tools("", value="$labels"), id="no-task"),
            pytest.param(tools("", value="$labels").for_task({"data": {}}), id="no-such-field"),
            pytest.param(tools('<Label value="$class"/>'), id="value-of-one-label"),
        ],
    )
    def test_labels_that_are_not_known_are_taken(self, tags: LabelingConfig) -> None:
        assert tags.output_for("image", [Label("Whatever")]).labels == ("Whatever",)


class TestOneLabelForAll:
    def test_the_only_label_needs_no_name(self) -> None:
        xml = (
            '<View><Image name="image" value="$image"/><BrushLabels name="a" toName="image">'
            '<Label value="Only"/></BrushLabels></View>'
        )
        assert LabelingConfig.parse(xml).labels_for_all("image", None) == (Label("Only"),)

    def test_a_tag_without_labels(self) -> None:
        assert config("Brush").labels_for_all("image", None) == ()

    @pytest.mark.parametrize("tags", [["BrushLabels"], ["Brush", "Labels"]], ids=" ".join)
    def test_of_several_labels_one_is_named(self, tags: list[str]) -> None:
        found = config(*tags)
        assert found.labels_for_all("image", "Other") == (Label("Other"),)
        with pytest.raises(UnanswerableRequestError, match='choose one of "Object", "Other"'):
            found.labels_for_all("image", None)
        with pytest.raises(UnanswerableRequestError, match='the label "Cat": the tag for them has'):
            found.labels_for_all("image", "Cat")
