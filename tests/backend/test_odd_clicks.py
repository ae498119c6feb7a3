"""Clicks of projects out of the ordinary get the mask that a plain click gets: the real backend."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Recorded = Callable[[str], dict]
Ask = Callable[..., list[dict[str, Any]]]

ROOT = Path(__file__).parents[2]
URL = "/data/upload/1/a244aff6-upload.png"


@pytest.fixture
def body(recorded: Recorded) -> dict[str, Any]:
    return recorded("click_positive")["json"]


@pytest.fixture
def ask(backend, body: dict[str, Any]) -> Ask:
    """Sends the recorded click, changed; gives the regions of the answer."""

    def send(
        *items: dict[str, Any], config: str | None = None, data: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        request = copy.deepcopy(body)
        if items:
            request["params"]["context"]["result"] = list(items)
        request["label_config"] = config or request["label_config"]
        request["tasks"][0]["data"] = data or request["tasks"][0]["data"]
        # Python's writer: the client's own writes neither NaN nor half a character
        response = backend.client.post("/predict", content=json.dumps(request))
        assert response.status_code == 200, response.text
        return response.json()["results"][0]["result"]

    return send


@pytest.fixture
def click(body: dict[str, Any]) -> dict[str, Any]:
    return body["params"]["context"]["result"][0]


def rle(regions: list[dict[str, Any]]) -> list[int]:
    (region,) = regions
    return region["value"]["rle"]


def tools(label_tags: str, attributes: str = "", image: str = 'value="$image"') -> str:
    return f"""<View><Image name="image" {image}/>
      <BrushLabels name="tag" toName="image" smart="false" {attributes}>{label_tags}</BrushLabels>
      <KeyPointLabels name="tag2" toName="image" smart="true" {attributes}>{label_tags}
      </KeyPointLabels></View>"""


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("choices", {"choices": ["good"]}),
        ("textarea", {"text": ["half of a smile: \ud83d"]}),
        ("taxonomy", {"taxonomy": [["a", "b"]]}),
        ("number", {"number": 5}),
        ("rating", {"rating": 4}),
        ("datetime", {"datetime": "2026-01-01"}),
        ("brushlabels", {"brushlabels": ["Other"]}),
        ("labels", {"labels": ["Other"]}),
    ],
)
def test_answers_for_the_clicked_region(
    ask: Ask, click: dict[str, Any], kind: str, answer: dict[str, Any]
) -> None:
    item = click | {"type": kind, "from_name": "answer", "value": {**click["value"], **answer}}
    assert rle(ask(click, item)) == rle(ask(item, click)) == rle(ask())


def test_a_page_of_a_repeater(ask: Ask, click: dict[str, Any]) -> None:
    config = (ROOT / "examples" / "repeated-pages.xml").read_text()
    data = {"document": [{"page": "/data/upload/1/none.png"}, {"page": URL}]}
    (region,) = ask(click | {"from_name": "point_1", "to_name": "page_1"}, config=config, data=data)
    assert (region["from_name"], region["to_name"]) == ("brush_1", "page_1")
    assert region["value"]["rle"] == rle(ask())


def test_opening_a_task_embeds_every_page(backend, body: dict[str, Any]) -> None:
    """A page without an image is no reason to leave out the others."""
    urls = [f"{URL}?page=1", "", f"{URL}?page=2", f"{URL}?page=3"]
    body["label_config"] = (ROOT / "examples" / "repeated-pages.xml").read_text()
    body["tasks"][0]["data"] = {"document": [{"page": url} for url in urls]}
    body["params"]["context"] = None
    encoded = backend.count("mobilesam_encodes_total")
    assert backend.client.post("/predict", json=body).json() == {"results": [[]]}
    backend.wait_for("mobilesam_encodes_total", encoded + 3)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("$labels2", {"labels2": [{"value": "Object"}]}),
        ("$meta.labels", {"meta": {"labels": [{"value": "Object"}]}}),
        ("$sets[0].labels", {"sets": [{"labels": [{"value": "Object"}]}]}),
    ],
)
def test_labels_of_the_task(ask: Ask, value: str, data: dict[str, Any]) -> None:
    (region,) = ask(config=tools("", f'value="{value}"'), data={"image": URL, **data})
    assert region["value"]["brushlabels"] == ["Object"]


@pytest.mark.parametrize(
    ("label_tags", "attributes", "labels"),
    [
        pytest.param(
            '<Label value="Object"/><Label value="Other"/>', 'choice="multiple"',
            ["Object", "Other"], id="two",
        ),
        pytest.param('<Label value="Object"/>', 'allowEmpty="true"', [], id="none"),
        pytest.param('<Label value="Object" alias="o"/>', "", ["o"], id="alias"),
    ],
)  # fmt: skip
def test_labels_of_the_click(
    ask: Ask, click: dict[str, Any], label_tags: str, attributes: str, labels: list[str]
) -> None:
    value = {**click["value"], "labels": labels, "keypointlabels": labels}
    (region,) = ask(click | {"value": value}, config=tools(label_tags, attributes))
    assert region["value"]["brushlabels"] == labels


@pytest.mark.parametrize(
    ("image", "data"),
    [
        pytest.param('valueList="$pages"', {"pages": URL}, id="text-for-a-list"),
        pytest.param('value="$image"', {"image": [URL, "/data/upload/1/b.png"]}, id="list"),
    ],
)
def test_one_image_or_a_list(ask: Ask, image: str, data: dict[str, Any]) -> None:
    config = tools('<Label value="Object"/>', image=image)
    assert rle(ask(config=config, data=data)) == rle(ask())


@pytest.mark.parametrize("gap", ["", None, {"url": URL}])
def test_a_gap_in_a_list_leaves_the_other_images(ask: Ask, click: dict[str, Any], gap: Any) -> None:
    config = tools('<Label value="Object"/>', image='valueList="$pages"')
    data = {"pages": [gap, URL]}
    assert rle(ask(click | {"item_index": 1}, config=config, data=data)) == rle(ask())
    assert ask(click | {"item_index": 0}, config=config, data=data) == []


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            """<view><image name="image" value="$image"/>
            <brushlabels name="tag" toName="image"><label value="Object"/></brushlabels>
            <keypointlabels name="tag2" toName="image"><label value="Object"/></keypointlabels>
            </view>""",
            id="tags-in-lower-case",
        ),
        pytest.param(
            tools('<Label value="Object"/>').replace("toName", "TONAME"),
            id="attributes-in-capitals",
        ),
        pytest.param(
            tools('<Label value="Object"/>').replace("<View>", '<View xmlns="http://a.example">'),
            id="namespace",
        ),
        pytest.param(tools("<Label> Object </Label>"), id="label-as-text"),
    ],
)
def test_configs_as_the_editor_reads_them(ask: Ask, config: str) -> None:
    (region,) = ask(config=config)
    assert region["type"] == "brushlabels"
    assert region["value"]["brushlabels"] == ["Object"]


def test_a_list_of_images_says_nothing_in_the_log(ask: Ask, backend) -> None:
    """label-studio-ml, which reads each config too, misses the image in every click."""
    before = len(backend.log)
    ask(config=tools('<Label value="Object"/>', image='valueList="$pages"'), data={"pages": [URL]})
    assert "to_name" not in backend.log[before:]
    assert "label_studio_tools" not in backend.log[before:]


class TestOddJSON:
    """What Python's writer writes and other readers refuse must not cost the click."""

    @pytest.mark.parametrize(
        "caption",
        [
            pytest.param("half of a smile: \ud83d", id="lone-surrogate"),
            pytest.param(float("nan"), id="nan"),
            pytest.param(float("inf"), id="infinity"),
        ],
    )
    def test_in_a_field_beside_the_image(self, ask: Ask, caption: object) -> None:
        assert rle(ask(data={"image": URL, "caption": caption})) == rle(ask())

    def test_half_a_character_in_a_label(self, ask: Ask, click: dict[str, Any]) -> None:
        labels = {"labels": [{"value": "\ud83d"}]}
        value = {**click["value"], "labels": ["\ud83d"], "keypointlabels": ["\ud83d"]}
        (region,) = ask(
            click | {"value": value},
            config=tools("", 'value="$labels"'),
            data={"image": URL, **labels},
        )
        assert region["value"]["brushlabels"] == ["\ud83d"]

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            pytest.param(b"[" * 2000 + b"]" * 2000, "the body is nested too deeply", id="deep"),
            pytest.param(b'{"tasks": [}', "the body is not JSON: Expecting value", id="no-json"),
            pytest.param(b"\xff\xfe\xfd", "the body is not JSON", id="binary"),
        ],
    )
    def test_no_json_is_told_as_such(self, backend, content: bytes, sentence: str) -> None:
        response = backend.client.post("/predict", content=content)
        assert response.status_code == 400
        assert response.json()["error"].startswith(sentence)

    def test_half_a_character_in_the_config(self, backend, body: dict[str, Any]) -> None:
        body["label_config"] = "<View>\ud83d</View>"
        response = backend.client.post("/predict", content=json.dumps(body))
        assert response.status_code == 400
        assert "label_config has half a character" in response.json()["error"]
