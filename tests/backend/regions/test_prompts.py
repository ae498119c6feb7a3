"""Label Studio's smart regions, read as prompts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.regions import prompts
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig

CONFIG = LabelingConfig.parse(
    """<View>
      <Image name="image" value="$picture"/>
      <BrushLabels name="brush" toName="image" smart="false">
        <Label value="Object"/><Label value="Other"/>
      </BrushLabels>
      <KeyPointLabels name="point" toName="image" smart="true">
        <Label value="Object"/><Label value="Other"/><Label value="Only here"/>
      </KeyPointLabels>
      <RectangleLabels name="box" toName="image" smart="true">
        <Label value="Object"/><Label value="Other"/>
      </RectangleLabels>
    </View>"""
)
LABELS_CONFIG = LabelingConfig.parse(
    """<View>
      <Image name="image" value="$picture"/>
      <Labels name="labels" toName="image"><Label value="Object"/></Labels>
      <Brush name="brush" toName="image" smart="false"/>
      <KeyPoint name="point" toName="image" smart="true"/>
    </View>"""
)

TWO_IMAGES = """<View>
  <Image name="left" value="$left"/><Image name="right" value="$right"/>
  <KeyPointLabels name="point" toName="left,right"><Label value="Object"/></KeyPointLabels>
</View>"""


def keypoint(x: float, y: float, *, label: str = "Object", **item: object) -> dict[str, object]:
    return {
        "original_width": 200,
        "original_height": 100,
        "image_rotation": 0,
        "value": {"x": x, "y": y, "width": 0.2, "labels": [label], "keypointlabels": [label]},
        "is_positive": True,
        "id": "wVDylx1H_M",
        "from_name": "point",
        "to_name": "image",
        "type": "keypointlabels",
        **item,
    }


def rectangle(*value: float, rotation: float = 0, label: str = "Object") -> dict[str, object]:
    x, y, width, height = value
    box = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return {
        "original_width": 200,
        "original_height": 100,
        "image_rotation": 0,
        "value": {**box, "rectanglelabels": [label]},
        "id": "ZlkQWrCw75",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
    }


def names(interaction: prompts.Interaction) -> list[str]:
    return [label.name for label in interaction.labels]


class TestParse:
    def test_clicks_of_one_label_are_one_object(self) -> None:
        items = [keypoint(50, 50), keypoint(25, 50), keypoint(10, 20, is_positive=False)]

        (interaction,) = prompts.parse(items, CONFIG)

        prompt = interaction.prompt((100, 200))
        assert names(interaction) == ["Object"]
        assert interaction.reported_size == (100, 200)
        assert prompt.point_labels.tolist() == [1, 1, 0]
        # the centre of the image lies between the middle pixels, 99 and 100
        assert prompt.point_coords.tolist() == [[99.5, 49.5], [49.5, 49.5], [19.5, 19.5]]

    def test_every_rectangle_is_an_object(self) -> None:
        first, second = prompts.parse(
            [rectangle(0, 0, 50, 50), rectangle(50, 50, 50, 50, label="Other")], CONFIG
        )
        assert (names(first), names(second)) == (["Object"], ["Other"])
        assert first.prompt((100, 200)).point_labels.tolist() == [2, 3]
        assert first.prompt((100, 200)).point_coords.tolist() == [[0, 0], [99.5, 49.5]]
        assert second.prompt((100, 200)).point_coords.tolist() == [[99.5, 49.5], [199, 99]]

    def test_a_rotated_rectangle_becomes_the_box_around_it(self) -> None:
        # 40 x 20 pixels, turned by 90 degrees around its corner (100, 50): 20 wide, 40 high
        (interaction,) = prompts.parse([rectangle(50, 50, 20, 20, rotation=90)], CONFIG)
        corners = interaction.prompt((100, 200)).point_coords
        np.testing.assert_allclose(corners, [[79.5, 49.5], [99.5, 89.5]], atol=1e-4)

    def test_a_rectangle_over_the_border_is_cut(self) -> None:
        (interaction,) = prompts.parse([rectangle(-10, -10, 300, 300)], CONFIG)
        assert interaction.prompt((100, 200)).point_coords.tolist() == [[0, 0], [199, 99]]

    def test_a_click_of_keypoint_and_labels_counts_once(self) -> None:
        value = {"x": 30, "y": 45, "width": 0.2, "labels": ["Object"]}
        click = {**keypoint(0, 0), "value": value, "type": "keypoint"}
        (interaction,) = prompts.parse(
            [click, {**click, "type": "labels", "from_name": "labels"}], LABELS_CONFIG
        )
        assert names(interaction) == ["Object"]
        assert len(interaction.points) == 1

    @pytest.mark.parametrize("region_id", ["wVDylx1H_M", 7, 0])
    def test_a_box_has_the_label_of_its_labels_tag(self, region_id: str | int) -> None:
        """The editor writes no label into the rectangle itself."""
        box = rectangle(10, 20, 30, 40)
        box |= {"type": "rectangle", "from_name": "point", "id": region_id}
        del box["value"]["rectanglelabels"]
        label = box | {"type": "labels", "from_name": "labels"}
        label["value"] = {**box["value"], "labels": ["Object"]}
        for items in ([box, label], [label, box]):
            (interaction,) = prompts.parse(items, LABELS_CONFIG)
            assert names(interaction) == ["Object"]
            assert interaction.rectangle == (10, 20, 30, 40, 0)

    @pytest.mark.parametrize(
        ("kind", "answer"),
        [
            ("choices", {"choices": ["good"]}),
            ("textarea", {"text": ["a note"]}),
            ("taxonomy", {"taxonomy": [["a", "b"]]}),
            ("number", {"number": 5}),
            ("rating", {"rating": 4}),
            ("datetime", {"datetime": "2026-01-01"}),
            ("brushlabels", {"brushlabels": ["Sky"]}),
            ("polygonlabels", {"polygonlabels": ["Sky"]}),
        ],
    )
    def test_answers_for_the_region_are_no_clicks(self, kind: str, answer: dict) -> None:
        """The editor sends every answer as an item with the region's id and coordinates."""
        first, second = keypoint(50, 50), keypoint(25, 50, id="another")
        value = {"x": 50, "y": 50, "width": 0.2, "labels": ["Object"], **answer}
        item = first | {"type": kind, "from_name": "answer", "value": value}
        for items in ([first, item, second], [item, first, second]):
            (interaction,) = prompts.parse(items, CONFIG)
            assert names(interaction) == ["Object"]
            assert interaction.points == ((50, 50, 1), (25, 50, 1))

    def test_a_label_of_another_tag_is_no_click(self) -> None:
        """A box drawn while a label of the keypoints is chosen is a box, and not a click too."""
        box = rectangle(10, 20, 30, 40)
        value = {**box["value"], "keypointlabels": ["Other"]}
        item = box | {"type": "keypointlabels", "from_name": "point", "value": value}
        for items in ([box, item], [item, box]):
            (interaction,) = prompts.parse(items, CONFIG)
            assert interaction.rectangle == (10, 20, 30, 40, 0)
            assert interaction.points == ()
            assert names(interaction) == ["Object"]

    def test_two_labels_and_none(self) -> None:
        two = keypoint(50, 50)
        two["value"] = {"x": 50, "y": 50, "keypointlabels": ["Object", "Other"]}
        none = keypoint(25, 50)
        none["value"] = {"x": 25, "y": 50, "keypointlabels": [], "labels": []}
        null = keypoint(20, 50)
        null["value"] = {"x": 20, "y": 50, "keypointlabels": [None]}
        both, unlabelled = prompts.parse([two, none, null], CONFIG)
        assert names(both) == ["Object", "Other"]
        assert names(unlabelled) == []
        assert len(unlabelled.points) == 2

    def test_a_click_without_a_sign_is_positive(self) -> None:
        item = keypoint(50, 50)
        del item["is_positive"]
        (interaction,) = prompts.parse([item], CONFIG)
        assert interaction.points == ((50, 50, 1),)

    def test_nothing_is_no_object(self) -> None:
        assert prompts.parse([], CONFIG) == []

    @pytest.mark.parametrize(
        ("item", "sentence"),
        [
            pytest.param(keypoint(50, 50, is_positive=False), "only negative points", id="sign"),
            pytest.param(keypoint(50, 50, from_name="gone"), 'no control tag "gone"', id="tag"),
            pytest.param(
                keypoint(50, 50, type="brushlabels"), 'type "brushlabels".*smart="false"', id="type"
            ),
        ],
    )
    def test_what_cannot_be_answered_says_why(self, item: object, sentence: str) -> None:
        with pytest.raises(UnanswerableRequestError, match=sentence):
            prompts.parse([item], CONFIG)

    @pytest.mark.parametrize(
        "item",
        [
            pytest.param("text", id="no-object"),
            pytest.param({}, id="empty"),
            pytest.param(keypoint(50, 50, value=None), id="no-value"),
            pytest.param(keypoint(50, 50, value={"x": 5}), id="no-y"),
            pytest.param(keypoint(50, 50, value={"x": True, "y": 5}), id="bool"),
            pytest.param(keypoint(float("nan"), 50), id="nan"),
            pytest.param(keypoint(50, float("inf")), id="infinity"),
            pytest.param(keypoint(50, 50, original_width="200"), id="size"),
            pytest.param(keypoint(50, 50, to_name=None), id="to-name"),
            pytest.param(keypoint(50, 50, image_rotation="90"), id="rotation"),
            pytest.param(keypoint(50, 50, item_index=-1), id="item-index"),
        ],
    )
    def test_what_label_studio_would_not_send_is_malformed(self, item: object) -> None:
        with pytest.raises(MalformedRequestError):
            prompts.parse([item], CONFIG)


class TestBare:
    """The coming editor: coordinates, and no word of tags, labels or sizes."""

    def test_points_and_a_box_are_one_prompt(self) -> None:
        result = [
            {"type": "keypointlabels", "value": {"x": 50, "y": 50, "positive": True}},
            {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 80, "height": 60}},
            {"type": "keypointlabels", "value": {"x": 20, "y": 40, "positive": False}},
        ]
        assert prompts.is_tagless(result)
        (interaction,) = prompts.parse(result, CONFIG)
        prompt = interaction.prompt((100, 200))
        assert interaction.to_name == "image"
        assert interaction.reported_size is None
        assert prompt.point_labels.tolist() == [1, 0, 2, 3]
        assert prompt.point_coords.tolist() == [
            [99.5, 49.5],
            [39.5, 39.5],
            [19.5, 19.5],
            [179.5, 79.5],
        ]

    def test_todays_prompts_are_not_bare(self) -> None:
        assert not prompts.is_tagless([keypoint(50, 50)])
        assert not prompts.is_tagless([])

    def test_a_box_needs_no_positive_point(self) -> None:
        box = {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 80, "height": 60}}
        minus = {"type": "keypointlabels", "value": {"x": 20, "y": 40, "positive": False}}
        (interaction,) = prompts.parse([box, minus], CONFIG)
        labels = interaction.prompt((100, 200)).point_labels
        assert labels.tolist() == [0, 2, 3]
        with pytest.raises(UnanswerableRequestError, match="only negative points"):
            prompts.parse([minus], CONFIG)

    def test_several_boxes_cannot_be_one_prompt(self) -> None:
        box = {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 80, "height": 60}}
        with pytest.raises(UnanswerableRequestError, match="several boxes"):
            prompts.parse([box, box], CONFIG)

    def test_which_image_must_be_clear(self) -> None:
        config = LabelingConfig.parse(TWO_IMAGES)
        item = {"type": "keypointlabels", "value": {"x": 20, "y": 40, "positive": True}}
        with pytest.raises(
            UnanswerableRequestError, match="does not say which image.*2 Image tags"
        ):
            prompts.parse([item], config)


class TestGeometry:
    """Percent to pixels: never off by more than half a pixel, never outside the image."""

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(
        x=st.floats(0, 100),
        y=st.floats(0, 100),
        height=st.integers(1, 20_000),
        width=st.integers(1, 20_000),
    )
    def test_a_point_stays_where_it_was(self, x: float, y: float, height: int, width: int) -> None:
        (interaction,) = prompts.parse(
            [keypoint(x, y, original_width=width, original_height=height)], CONFIG
        )
        ((column, row),) = interaction.prompt((height, width)).point_coords
        assert 0 <= column <= width - 1
        assert 0 <= row <= height - 1
        # a position in the image is that of the pixel's centre: half a pixel more
        tolerance = 0.5 + 20_000 * 2e-7  # the prompt is float32
        assert abs(column + 0.5 - x / 100 * width) <= tolerance
        assert abs(row + 0.5 - y / 100 * height) <= tolerance

    @pytest.mark.parametrize(
        "size", [(1, 1), (1, 300), (300, 1), (2, 3)], ids=["1x1", "1xN", "Nx1", "2x3"]
    )
    @pytest.mark.parametrize("corner", [(0, 0), (100, 0), (0, 100), (100, 100), (-5, 105)])
    def test_points_on_and_over_the_border(
        self, size: tuple[int, int], corner: tuple[float, float]
    ) -> None:
        height, width = size
        (interaction,) = prompts.parse(
            [keypoint(*corner, original_width=width, original_height=height)], CONFIG
        )
        expected = [width - 1 if corner[0] > 0 else 0, height - 1 if corner[1] > 0 else 0]
        assert interaction.prompt(size).point_coords.tolist() == [expected]

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param((20, 30, 40, 20), id="top-left"),
            pytest.param((60, 30, -40, 20), id="top-right"),
            pytest.param((20, 50, 40, -20), id="bottom-left"),
            pytest.param((60, 50, -40, -20), id="bottom-right"),
        ],
    )
    def test_a_box_may_start_at_any_corner(self, value: tuple[float, ...]) -> None:
        (interaction,) = prompts.parse([rectangle(*value)], CONFIG)
        prompt = interaction.prompt((100, 200))
        assert prompt.point_labels.tolist() == [2, 3]
        np.testing.assert_allclose(prompt.point_coords, [[39.5, 29.5], [119.5, 49.5]], atol=1e-4)

    @pytest.mark.parametrize("rotation", [0, 90, 180, 270])
    def test_a_turned_view_moves_nothing(self, rotation: int) -> None:
        """The editor turns what it shows; its coordinates stay those of the image."""
        (upright,) = prompts.parse([keypoint(10, 20)], CONFIG)
        (turned,) = prompts.parse([keypoint(10, 20, image_rotation=rotation)], CONFIG)
        assert turned.image_rotation == rotation
        assert turned.points == upright.points


class TestLists:
    def test_clicks_on_two_pages_are_two_objects(self) -> None:
        """The editor sends the clicks of all pages together."""
        first, second = prompts.parse(
            [keypoint(50, 50, item_index=0), keypoint(20, 20, item_index=2)], CONFIG
        )
        assert (first.item_index, second.item_index) == (0, 2)
        assert len(first.points) == len(second.points) == 1
