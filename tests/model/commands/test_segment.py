"""The help of `python -m model`. tests/model/test_command_line.py has what the command does."""

import pytest

from model.__main__ import main


def test_the_help_says_what_each_setting_of_everything_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for option, text in {
        "points-per-side": "points of the grid along each axis (default: 32)",
        "hierarchical": "1: leave out points that lie in a large mask; 0: ask all points"
        " (default: 1)",
        "pred-iou-thresh": "the lowest predicted IoU, 0 to 1 (default: 0.7)",
        "stability-score-thresh": "the lowest stability, 0 to 1 (default: 0.8)",
        "box-nms-thresh": "the highest IoU of two masks, 0 to 1 (default: 0.7)",
        "crop-n-layers": "how often the image is cut into crops for small objects (default: 0)",
        "min-mask-region-area": "smaller parts and holes are removed, pixels (default: 0)",
        "max-masks": "the most masks of an image (default: all)",
    }.items():
        assert f"--{option} NUMBER with --everything, {text}" in said
