"""Means, files and signs of an evaluation's table, from numbers that are known."""

import csv
import json
import math

import numpy as np
import pytest

from infer.console import printable
from infer.evaluation.report import (
    _difference,
    first_of,
    mean_of,
    mean_of_clips,
    print_table,
    write_csv,
    write_json,
)

# A metric that compares neighbours is not defined at the first frame.
NAN = math.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, float)


CLIPS = {
    "long": {
        "bicubic": {"psnr_y": column(30, 30, 30, 30), "tlp": column(NAN, 1, 1, 1)},
        "nano": {"psnr_y": column(31, 32, 33, 36), "tlp": column(NAN, 2, 4, 6)},
    },
    "short": {
        "bicubic": {"psnr_y": column(20), "tlp": column(NAN)},
        "nano": {"psnr_y": column(25), "tlp": column(NAN)},
    },
}


def test_a_mean_is_over_frames_where_the_metric_is_defined() -> None:
    assert mean_of(CLIPS["long"]["nano"]) == {"psnr_y": 33, "tlp": 4}
    assert mean_of(CLIPS["short"]["nano"]) == {"psnr_y": 25}


def test_the_first_frame_stands_alone() -> None:
    assert first_of(CLIPS["long"]["nano"]) == {"psnr_y": 31}


def test_every_clip_weighs_the_same() -> None:
    means = mean_of_clips(CLIPS)
    # 29 and not the mean of five frames, and no metric that a clip lacks
    assert means == {"bicubic": {"psnr_y": 25}, "nano": {"psnr_y": 29}}


@pytest.mark.parametrize(
    ("name", "value", "base", "text"),
    [
        ("psnr_y", 31.5, 30.0, "+1.50"),
        ("ssim_y", 0.9, 0.95, "-0.0500"),
        ("lpips", 0.15, 0.2, "-25.0%"),
        ("tlp", 2.0, 0.0, "-"),
        ("psnr_y", math.inf, 30.0, "-"),
        ("lpips", None, 0.2, "-"),
        # It is a distance from bicubic already.
        ("colour", 0.3, 0.1, "-"),
    ],
)
def test_a_difference_from_bicubic_has_its_sign(name, value, base, text) -> None:
    assert _difference(name, value, base) == text


def test_json_holds_every_frame_and_null_where_there_is_no_number(tmp_path) -> None:
    path = tmp_path / "numbers.json"
    write_json(path, {"": CLIPS}, {"seed": 3}, {"drift": {}})
    document = json.loads(path.read_text())
    assert document["protocol"] == {"seed": 3}
    assert document["mean"]["nano"] == {"psnr_y": 29}
    frames = document["clips"]["long"]["nano"]["frames"]
    assert frames["tlp"] == [None, 2, 4, 6]


def test_conditions_are_told_apart_in_json(tmp_path) -> None:
    path = tmp_path / "numbers.json"
    write_json(path, {"noise 5": CLIPS, "crf 30": CLIPS}, {}, {})
    document = json.loads(path.read_text())
    assert set(document["mean"]) == {"noise 5", "crf 30"}


def test_csv_has_a_line_for_every_frame_of_every_row(tmp_path) -> None:
    path = tmp_path / "numbers.csv"
    write_csv(path, {"": CLIPS})
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    # two rows of a clip of four frames, and of one of one
    assert len(lines) == 2 * (4 + 1)
    first, *_ = [line for line in lines if line["row"] == "nano"]
    assert first["clip"] == "long"
    assert first["frame"] == "0"
    assert float(first["psnr_y"]) == 31
    assert first["tlp"] == ""


def test_the_table_has_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"": CLIPS}, {"seed": 3})
    text = capsys.readouterr().out
    for word in ("long", "short", "mean", "nano - bicubic", "seed: 3"):
        assert word in text


@pytest.mark.parametrize("name", ["[/bold]", "[red]x", "a\x1b[31m", "\x9b2J"])
def test_names_in_the_table_are_words_and_no_orders(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    rows = next(iter(CLIPS.values()))
    print_table({"": {name: rows}}, {})
    text = capsys.readouterr().out
    assert printable(name) in text
    assert "\x1b[31m" not in text
    assert "\x9b" not in text
