"""Means, numbers of clicks, and how far predicted IoUs can be trusted."""

import pytest

from training.scores import Bin, Score, reliability, reliability_table, summarise, table

EASY = Score(
    "easy",
    "cat",
    ious=(0.82, 0.86, 0.92, 0.92, 0.92),
    box=0.9,
    box_and_click=0.92,
    oracle=0.95,
    clicks_to=(1, 2, 3),
    shown=((0.82, 0.82), (0.95, 0.85)),
)
HARD = Score(
    "hard",
    "dog",
    ious=(0.2, 0.3, 0.4, 0.5, 0.6),
    box=0.5,
    box_and_click=0.8,
    oracle=0.3,
    clicks_to=(9, None, None),
    shown=((0.52, 0.22), (1.3, 1.0)),
)


def test_the_row_of_a_table() -> None:
    assert summarise([EASY, HARD]) == {
        "objects": 2,
        "1_click": 0.51,
        "3_clicks": 0.66,
        "5_clicks": 0.76,
        "1_click_oracle": 0.625,
        "box": 0.7,
        "box_and_click": 0.86,
        "noc_80": 5.0,
        "failed_80": 0.0,
        "noc_85": 11.0,
        "failed_85": 0.5,
        "noc_90": 11.5,
        "failed_90": 0.5,
        "iou_error": 0.175,
    }


def test_answers_are_sorted_by_what_was_predicted() -> None:
    assert reliability([EASY, HARD]) == [
        Bin(low=0.5, answers=1, predicted=0.52, actual=0.22),
        Bin(low=0.8, answers=1, predicted=0.82, actual=0.82),
        Bin(low=0.9, answers=2, predicted=pytest.approx(1.125), actual=pytest.approx(0.925)),
    ]


def test_tables_are_markdown() -> None:
    text = table([("photographs", summarise([EASY, HARD]))])
    header, rule, row = text.splitlines()
    assert len({len(line) for line in (header, rule, row)}) == 1
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "photographs", "2", "0.510", "0.625", "0.660", "0.760", "0.700", "0.860",
        "5.00", "11.00", "11.50", "50%", "0.175",
    ]  # fmt: skip
    assert "| 0.8 to 0.9 |" in reliability_table(reliability([EASY, HARD]))
