"""Labeling configs as text: hostile ones refused with a sentence, others read."""

from pathlib import Path

import pytest

from backend.regions import config_tree
from backend.regions.errors import MalformedRequestError


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        pytest.param("", "as a labeling config: Document is empty", id="empty"),
        pytest.param("text", "as a labeling config: ", id="text"),
        pytest.param("<View>", "as a labeling config: ", id="cut"),
        pytest.param("<View></View><View/>", "as a labeling config: Extra content", id="two"),
        pytest.param('<View a="&x;"/>', "config: Entity 'x' not defined", id="entity"),
        pytest.param("<View>\ud800</View>", r"half a character .* at 6", id="surrogate"),
        pytest.param("<a>" * 300 + "</a>" * 300, "config: Excessive depth", id="deep"),
        pytest.param("<View>" + " " * (4 << 20) + "</View>", "longer than 4194304", id="long"),
        pytest.param(
            '<?xml version="1.0" encoding="utf-8"?><View/>', "declares an encoding", id="encoding"
        ),
        pytest.param("<!DOCTYPE View><View/>", "has a <!DOCTYPE>", id="doctype"),
    ],
)
def test_what_is_no_config_says_why(xml: str, sentence: str) -> None:
    with pytest.raises(MalformedRequestError, match=sentence):
        config_tree.read(xml)


def test_no_file_is_read_and_no_entity_resolved(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for xml in (
        f'<!DOCTYPE v [<!ENTITY a SYSTEM "file://{secret}">]><View b="&a;">&a;</View>',
        f'<!DOCTYPE v SYSTEM "file://{secret}"><View/>',
        '<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><View c="&b;"/>',
    ):
        with pytest.raises(MalformedRequestError, match="must have none: remove it"):
            config_tree.read(xml)


@pytest.mark.parametrize(
    "xml",
    [
        pytest.param('\ufeff<View a="ä"/>', id="byte-order-mark"),
        pytest.param('<?xml version="1.0"?><View a="ä"/>', id="declared"),
        pytest.param('<!-- comment --><View a="ä"><?php ?><!-- b --></View>', id="comments"),
    ],
)
def test_it_is_read_as_it_is_meant(xml: str) -> None:
    tree = config_tree.read(xml)
    assert [(tag.tag, dict(tag.attrib)) for tag in tree.iter()] == [("View", {"a": "ä"})]


def test_the_tree_of_the_config_stays_as_it_is() -> None:
    tree = config_tree.read('<View><Repeater on="$a"><Image name="i{{idx}}"/></Repeater></View>')
    made = config_tree.repeated(tree, {"a": [1, 2]})
    assert [tag.get("name") for tag in made.iter("Image")] == ["i0", "i1"]
    assert [tag.get("name") for tag in tree.iter("Image")] == ["i{{idx}}"]
