"""Which images a labeling config has for a task."""

import pytest

from backend.regions.controls import Label
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig, whole_number

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


class TestImages:
    @pytest.mark.parametrize(
        ("value", "data"),
        [
            pytest.param("$picture", {"picture": "/a.png", "image": "/b.png"}, id="field"),
            pytest.param("$photo.url", {"photo": {"url": "/a.png"}}, id="nested"),
            pytest.param("$photos[1].url", {"photos": [{}, {"url": "/a.png"}]}, id="list-item"),
            pytest.param("$photo.url", {"photo.url": "/a.png"}, id="field-with-a-dot"),
            pytest.param("/$name", {"name": "a.png"}, id="in-a-text"),
            pytest.param("$pages", {"pages": ["/a.png", "/b.png"]}, id="the-first-of-a-list"),
        ],
    )
    def test_the_image_is_the_one_the_tag_shows(self, value: str, data: dict) -> None:
        tags = config(KEYPOINTS, image=f'<Image name="image" value="{value}"/>')
        assert tags.image_ref({"data": data}, "image").url == "/a.png"

    @pytest.mark.parametrize(
        "data", [None, {}, {"image": ""}, {"image": 5}, {"image": [5]}, {"image": []}, []]
    )
    def test_a_task_without_the_image_says_so(self, data: object) -> None:
        with pytest.raises(UnanswerableRequestError, match='no image URL under "image"'):
            config(KEYPOINTS).image_ref({"data": data}, "image")

    @pytest.mark.parametrize("value", ["$my-image", "https://h.example/$image", "$image$image"])
    def test_a_text_with_a_field_that_is_missing_is_no_url(self, value: str) -> None:
        tags = config(KEYPOINTS, image=f'<Image name="image" value="{value}"/>')
        with pytest.raises(UnanswerableRequestError, match="no image URL under"):
            tags.image_ref({"data": {"my-image": "/a.png"}}, "image")

    def test_a_list_of_images(self) -> None:
        tags = config(KEYPOINTS, image='<Image name="image" valueList="$pages"/>')
        task = {"data": {"pages": ["/a.png", "/b.png"]}}
        assert [ref.url for ref in tags.image_refs(task)] == ["/a.png", "/b.png"]
        assert tags.image_ref(task, "image", 1).url == "/b.png"
        with pytest.raises(
            UnanswerableRequestError, match='image 3 of the tag "image".* has 2: reload'
        ):
            tags.image_ref(task, "image", 2)

    def test_a_text_is_a_list_of_one(self) -> None:
        """The editor shows the one image where a task has a text in the place of a list."""
        tags = config(KEYPOINTS, image='<Image name="image" valueList="$pages"/>')
        task = {"data": {"pages": "/a.png"}}
        assert [ref.url for ref in tags.image_refs(task)] == ["/a.png"]
        assert tags.image_ref(task, "image", 0).url == "/a.png"
        with pytest.raises(UnanswerableRequestError, match="image 2 of the tag"):
            tags.image_ref(task, "image", 1)

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
        assert tags.output_for("after", [Label("B")]).control.name == "polygon"
        with pytest.raises(UnanswerableRequestError, match='has no label "B"'):
            tags.output_for("before", [Label("B")])

    def test_a_missing_object_tag_moves_no_other(self) -> None:
        tags = LabelingConfig.parse(
            '<View><Image name="there" value="$there"/>'
            '<Brush name="brush" toName="gone,there"/></View>'
        )
        assert tags.image_ref({"data": {"there": "/a.png"}}, "there").url == "/a.png"
        with pytest.raises(UnanswerableRequestError, match='no Image tag "gone"'):
            tags.image_ref({"data": {"there": "/a.png"}}, "gone")


PAGES = """<View><Repeater on="$document" indexFlag="{{idx}}">
  <Image name="page_{{idx}}" value="$document[{{idx}}].page"/>
  <BrushLabels name="brush_{{idx}}" toName="page_{{idx}}" smart="false">
    <Label value="Object"/>
  </BrushLabels>
  <KeyPointLabels name="point_{{idx}}" toName="page_{{idx}}">
    <Label value="Object"/>
  </KeyPointLabels>
</Repeater></View>"""


class TestRepeaters:
    def test_each_item_has_its_image_and_its_tools(self) -> None:
        task = {"data": {"document": [{"page": "/a.png"}, {"page": "/b.png"}, {"page": "/c.png"}]}}
        tags = LabelingConfig.parse(PAGES)
        assert [ref.url for ref in tags.image_refs(task)] == ["/a.png", "/b.png", "/c.png"]
        assert tags.image_ref(task, "page_1").url == "/b.png"
        of_task = tags.for_task(task)
        assert of_task.output_for("page_1", [Label("Object")]).control.name == "brush_1"
        assert [control.name for control in of_task.controls] == [
            "brush_0", "point_0", "brush_1", "point_1", "brush_2", "point_2",
        ]  # fmt: skip
        with pytest.raises(UnanswerableRequestError, match='no Image tag "page_3"'):
            tags.image_ref(task, "page_3")

    def test_repeaters_in_repeaters(self) -> None:
        tags = LabelingConfig.parse(
            """<View><Repeater on="$books" indexFlag="{{b}}"><View>
              <Repeater on="$books[{{b}}].pages" indexFlag="{{p}}">
                <Image name="i{{b}}_{{p}}" value="$books[{{b}}].pages[{{p}}]"/>
                <Brush name="brush{{b}}_{{p}}" toName="i{{b}}_{{p}}"/>
              </Repeater></View></Repeater>
              <Image name="cover" value="$cover"/><Brush name="brush" toName="cover"/></View>"""
        )
        task = {"data": {"books": [{"pages": ["/a", "/b"]}, {"pages": ["/c"]}], "cover": "/d"}}
        assert [ref.url for ref in tags.image_refs(task)] == ["/a", "/b", "/c", "/d"]
        assert tags.image_ref(task, "i1_0").url == "/c"

    @pytest.mark.parametrize("document", [None, "text", {}, 5, []])
    def test_without_a_list_there_is_nothing_to_repeat(self, document: object) -> None:
        tags = LabelingConfig.parse(PAGES)
        assert list(tags.image_refs({"data": {"document": document}})) == []

    def test_how_many_images_a_task_has_is_known_beforehand_or_not(self) -> None:
        assert config(KEYPOINTS).images_per_task == 1
        assert LabelingConfig.parse(PAGES).images_per_task is None
        pages = config(KEYPOINTS, image='<Image name="image" valueList="$pages"/>')
        assert pages.images_per_task is None

    def test_the_copies_are_bounded(self) -> None:
        task = {"data": {"document": [{"page": "/a.png"}] * 10_001}}
        with pytest.raises(UnanswerableRequestError, match="more than 10000 copies"):
            LabelingConfig.parse(PAGES).for_task(task)


@pytest.mark.parametrize(
    ("value", "found"),
    [(7, 7), (2**63 - 1, 2**63 - 1), (2**63, None), (-(10**30), None), (True, None), ("7", None)],
)
def test_whole_numbers_have_64_bits(value: object, found: int | None) -> None:
    assert whole_number(value) == found
