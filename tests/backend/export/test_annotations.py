"""Which annotations of a task are exported, and what is on which image."""

from typing import Any

import pytest

from backend.export.annotations import AnnotationReader, Choice, classes
from backend.export.report import Note, Report
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig

BRUSH = (
    '<BrushLabels name="brush" toName="image"><Label value="Cat"/><Label value="Dog"/>'
    "</BrushLabels>"
)
BOX = '<RectangleLabels name="box" toName="image"><Label value="Bird"/></RectangleLabels>'
IMAGE = '<Image name="image" value="$image"/>'


def box(region_id: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "id": region_id,
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "value": {"x": 1, "y": 2, "width": 30, "height": 40, "rectanglelabels": ["Bird"]},
        "original_width": 80,
        "original_height": 60,
        **more,
    }


def annotation(number: int, *regions: Any, **fields: Any) -> dict[str, Any]:
    return {"id": number, "result": list(regions), "updated_at": f"2026-01-0{number}", **fields}


def task(*annotations: Any, **data: Any) -> dict[str, Any]:
    return {"id": 5, "data": data or {"image": "/data/a.png"}, "annotations": list(annotations)}


def reader(
    *tags: str, choice: Choice = Choice.ONE, only: tuple[str, ...] = ()
) -> tuple[AnnotationReader, Report]:
    report = Report()
    config = LabelingConfig.parse(f"<View>{''.join(tags)}</View>")
    return AnnotationReader(config, choice, only, report), report


class TestChoice:
    @pytest.mark.parametrize(
        ("choice", "found", "note"),
        [
            (Choice.ONE, ["truth"], {Note.OTHER_ANNOTATIONS: 2}),
            (Choice.GROUND_TRUTH, ["truth"], {}),
            (Choice.ALL, ["first", "truth", "last"], {}),
        ],
    )
    def test_of_several_annotators(
        self, choice: Choice, found: list[str], note: dict[Note, int]
    ) -> None:
        annotations, report = reader(IMAGE, BOX, choice=choice)
        (image,) = annotations.images(
            task(
                annotation(1, box("first")),
                annotation(2, box("truth"), ground_truth=True),
                annotation(3, box("last")),
                annotation(4, box("skipped"), was_cancelled=True),
            )
        )
        assert [one.region.region_id for one in image.objects] == found
        assert +report.notes == note

    def test_without_a_ground_truth_the_last_counts(self) -> None:
        annotations, _ = reader(IMAGE, BOX)
        (image,) = annotations.images(task(annotation(2, box("new")), annotation(1, box("old"))))
        assert [(one.annotation_id, one.region.region_id) for one in image.objects] == [(2, "new")]

    @pytest.mark.parametrize(
        ("made", "note"),
        [
            (task(), Note.NOT_ANNOTATED),
            (task(annotation(1, box(), was_cancelled=True)), Note.SKIPPED),
            (task(annotation(1, box())), Note.NO_GROUND_TRUTH),
        ],
    )
    def test_tasks_without_any_are_counted(self, made: dict[str, Any], note: Note) -> None:
        annotations, report = reader(IMAGE, BOX, choice=Choice.GROUND_TRUTH)
        assert annotations.images(made) == []
        assert +report.notes == {note: 1}

    def test_an_annotation_without_regions_is_an_image_without_objects(self) -> None:
        annotations, _ = reader(IMAGE, BOX)
        (image,) = annotations.images(task(annotation(1)))
        assert (image.objects, image.original_size) == ((), None)
        assert (image.ref.url, image.ref.task_id) == ("/data/a.png", 5)


class TestTags:
    def regions(self) -> list[dict[str, Any]]:
        brush = {"format": "rle", "rle": [], "brushlabels": ["Cat"]}
        point = {"x": 1, "y": 2, "width": 1, "keypointlabels": ["Cat"]}
        return [
            box(),
            box("b", from_name="brush", type="brushlabels", value=brush),
            box("c", from_name="point", type="keypointlabels", value=point),
        ]

    def test_boxes_that_prompt_are_left_out_and_counted(self) -> None:
        annotations, report = reader(IMAGE, BRUSH, BOX)
        (image,) = annotations.images(task(annotation(1, *self.regions())))
        assert [one.region.region_id for one in image.objects] == ["b"]
        assert +report.notes == {Note.PROMPTS: 1, Note.NO_SHAPE: 1}

    @pytest.mark.parametrize(
        "tags",
        [
            (IMAGE, BOX),
            (IMAGE, BRUSH, BOX.replace("<RectangleLabels", '<RectangleLabels smart="false"')),
        ],
        ids=["the only tag", "no prompt"],
    )
    def test_other_boxes_are_objects(self, tags: tuple[str, ...]) -> None:
        annotations, _ = reader(*tags)
        (image,) = annotations.images(task(annotation(1, box())))
        assert len(image.objects) == 1

    def test_only_tags_that_are_named(self) -> None:
        annotations, report = reader(IMAGE, BRUSH, BOX, only=("box",))
        (image,) = annotations.images(task(annotation(1, *self.regions())))
        assert [one.region.region_id for one in image.objects] == ["a"]
        assert report.notes[Note.OTHER_TAGS] == 1

    def test_a_tag_that_is_not_there(self) -> None:
        with pytest.raises(ValueError, match="has no tag polygon: its tags are box, brush"):
            reader(IMAGE, BRUSH, BOX, only=("polygon",))


class TestImages:
    def test_a_list_of_images(self) -> None:
        pages, report = reader('<Image name="image" valueList="$pages"/>', BOX)
        made = task(
            annotation(1, box("a", item_index=2), box("b", item_index=0), box("c", item_index=7)),
            pages=["/0.png", "/1.png", "/2.png", None],
        )
        found = {
            image.ref.url: [one.region.region_id for one in image.objects]
            for image in pages.images(made)
        }
        assert found == {"/0.png": ["b"], "/1.png": [], "/2.png": ["a"]}
        ((name, reason),) = report.failures
        assert name == "task 5"
        assert reason.startswith('1 regions are on image 8 of the tag "image"')

    def test_several_image_tags(self) -> None:
        """An image that nothing can be drawn on is not exported."""
        annotations, _ = reader(
            IMAGE,
            '<Image name="other" value="$other"/><Image name="example" value="$example"/>',
            BOX.replace('toName="image"', 'toName="image,other"'),
            '<Choices name="kind" toName="example"><Choice value="good"/></Choices>',
        )
        made = task(annotation(1, box(to_name="other")), image="/a", other="/b", example="/c")
        found = {image.ref.url: len(image.objects) for image in annotations.images(made)}
        assert found == {"/a": 0, "/b": 1}

    def test_regions_of_two_sizes(self) -> None:
        annotations, _ = reader(IMAGE, BOX)
        (image,) = annotations.images(task(annotation(1, box("a"), box("b", original_width=81))))
        with pytest.raises(MalformedRequestError, match="has the image been replaced"):
            _ = image.original_size

    def test_a_task_without_an_image(self) -> None:
        annotations, _ = reader(IMAGE, BOX)
        with pytest.raises(UnanswerableRequestError, match='no image URL under "image"'):
            annotations.images(task(annotation(1, box()), text="a"))


class TestClasses:
    def test_they_stand_as_in_the_config(self) -> None:
        labels = (
            '<Labels name="labels" toName="image"><Label value="Ant"/><Label value="Dog"/></Labels>'
        )
        point = (
            '<KeyPointLabels name="point" toName="image"><Label value="Point"/></KeyPointLabels>'
        )
        aliased = BRUSH.replace('value="Cat"', 'value="Cat" alias="feline"')
        config = LabelingConfig.parse(f"<View>{IMAGE}{point}{aliased}{BOX}{labels}</View>")
        assert classes(config, ()) == ["feline", "Dog", "Ant"]
        assert classes(config, ("box",)) == ["Bird", "Ant", "Dog"]

    def test_regions_have_the_alias_or_the_value(self) -> None:
        aliased = BOX.replace('value="Bird"', 'value="Bird" alias="avis"')
        annotations, _ = reader(IMAGE, aliased)
        (image,) = annotations.images(task(annotation(1, box())))
        assert image.objects[0].labels == ("avis",)

    def test_labels_of_tasks_are_not_there(self) -> None:
        config = LabelingConfig.parse(
            f'<View>{IMAGE}<BrushLabels name="b" toName="image" value="$labels"/></View>'
        )
        assert classes(config, ()) == []
