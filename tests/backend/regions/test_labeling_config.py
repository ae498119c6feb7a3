"""What a labeling config says, and which tag takes the masks."""

import pytest

from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
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
        output = config(KEYPOINTS, *tags).output_for("image", "Object")
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
        assert both.output_for("image", "Sky").control.name == "stuff"
        assert both.output_for("image", "Car").control.name == "things"
        # the smart rectangle prompts: a mask of it would be a surprise
        with pytest.raises(
            UnanswerableRequestError,
            match='BrushLabels "stuff", PolygonLabels "things" has no label "Only here": add it',
        ):
            both.output_for("image", "Only here")

    def test_settings_of_the_tag(self) -> None:
        tag = 'PolygonLabels model_tolerance="2.5" model_max_vertices="60"'
        output = config(KEYPOINTS, tag).output_for("image", "Other")
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
            config(KEYPOINTS, f"PolygonLabels {attribute}").output_for("image", "Object")

    def test_a_config_without_an_output_is_named(self) -> None:
        with pytest.raises(
            UnanswerableRequestError, match='no tag for the image "image" to put masks'
        ):
            config(KEYPOINTS).output_for("image", "Object")

    def test_no_label_is_named(self) -> None:
        with pytest.raises(UnanswerableRequestError, match="no label was chosen"):
            config("BrushLabels").output_for("image", None)

    def test_dynamic_labels_take_any_label(self) -> None:
        tags = LabelingConfig.parse(
            '<View><Image name="image" value="$image"/>'
            '<BrushLabels name="brush" toName="image" value="$labels"/></View>'
        )
        assert tags.output_for("image", "Whatever").control.name == "brush"


class TestImages:
    @pytest.mark.parametrize(
        ("value", "data"),
        [
            pytest.param("$picture", {"picture": "/a.png", "image": "/b.png"}, id="field"),
            pytest.param("$photo.url", {"photo": {"url": "/a.png"}}, id="nested"),
            pytest.param("$photos[1].url", {"photos": [{}, {"url": "/a.png"}]}, id="list-item"),
            pytest.param("$photo.url", {"photo.url": "/a.png"}, id="field-with-a-dot"),
            pytest.param("/$name", {"name": "a.png"}, id="in-a-text"),
        ],
    )
    def test_the_image_is_the_one_the_tag_shows(self, value: str, data: dict) -> None:
        tags = config(KEYPOINTS, image=f'<Image name="image" value="{value}"/>')
        assert tags.image_ref({"data": data}, "image").url == "/a.png"

    @pytest.mark.parametrize(
        "data", [None, {}, {"image": ""}, {"image": 5}, {"image": ["/a.png"]}, []]
    )
    def test_a_task_without_the_image_says_so(self, data: object) -> None:
        with pytest.raises(UnanswerableRequestError, match='no image URL under "image"'):
            config(KEYPOINTS).image_ref({"data": data}, "image")

    def test_a_list_of_images(self) -> None:
        tags = config(KEYPOINTS, image='<Image name="image" valueList="$pages"/>')
        task = {"data": {"pages": ["/a.png", "/b.png"]}}
        assert [ref.url for ref in tags.image_refs(task)] == ["/a.png", "/b.png"]
        assert tags.image_ref(task, "image", 1).url == "/b.png"
        with pytest.raises(
            UnanswerableRequestError, match='image 3 of the tag "image".* has 2: reload'
        ):
            tags.image_ref(task, "image", 2)

    def test_several_images_in_one_task(self) -> None:
        tags = LabelingConfig.parse(
            """<View>
              <Image name="before" value="$first"/><Image name="after" value="$second"/>
              <Image name="decoration" value="$logo"/>
              <BrushLabels name="brush" toName="before,after"><Label value="A"/></BrushLabels>
              <PolygonLabels name="polygon" toName="after"><Label value="B"/></PolygonLabels>
            </View>"""
        )
        task = {"data": {"first": "/1.png", "second": "/2.png"}}
        assert list(tags.image_variables) == ["before", "after"]
        assert tags.image_ref(task, "after").url == "/2.png"
        assert tags.output_for("after", "B").control.name == "polygon"
        with pytest.raises(UnanswerableRequestError, match='has no label "B"'):
            tags.output_for("before", "B")

    def test_a_missing_object_tag_moves_no_other(self) -> None:
        tags = LabelingConfig.parse(
            '<View><Image name="there" value="$there"/>'
            '<Brush name="brush" toName="gone,there"/></View>'
        )
        assert tags.image_ref({"data": {"there": "/a.png"}}, "there").url == "/a.png"
        with pytest.raises(UnanswerableRequestError, match='no Image tag "gone"'):
            tags.image_ref({"data": {"there": "/a.png"}}, "gone")


@pytest.mark.parametrize("xml", ["<View>", "text"])
def test_what_is_no_config_is_malformed(xml: str) -> None:
    with pytest.raises(MalformedRequestError, match="labeling config"):
        LabelingConfig.parse(xml)
