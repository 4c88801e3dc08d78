"""A run's numbers: one JSON object a line, whatever the numbers are."""

import json
import math
from pathlib import Path

import pytest

from train.chain import read_log, table
from train.log import Log


@pytest.fixture
def log(tmp_path: Path):
    log = Log(tmp_path, total_steps=100, images_per_step=8, is_main=True)
    yield log
    log.close()


def test_numbers_come_back_as_they_were_written(log: Log, tmp_path: Path) -> None:
    log.write(10, {"loss": 0.25, "psnr": 31.5})
    log.write(20, {"loss": 0.125}, "validation")
    assert read_log(tmp_path, "train") == [
        {"kind": "train", "step": 10, "loss": 0.25, "psnr": 31.5}
    ]
    assert read_log(tmp_path, "validation") == [
        {"kind": "validation", "step": 20, "loss": 0.125}
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_hold_is_null(
    log: Log, tmp_path: Path, value: float
) -> None:
    log.write(1, {"loss": value, "psnr": 30.0})
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    # Python's json would write it, and no other reader takes it
    assert "NaN" not in line
    assert "Infinity" not in line
    record = json.loads(line)
    assert record["loss"] is None
    assert record["psnr"] == 30


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    for step in (1, 2):
        log = Log(tmp_path, total_steps=2, images_per_step=1, is_main=True)
        log.write(step, {"loss": 1.0})
        log.close()
    assert [record["step"] for record in read_log(tmp_path, "train")] == [1, 2]


def test_speed_is_told_once_the_clock_runs(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write(1, {"loss": 1.0})
    log.start(1)
    # no step has been made since
    log.write(1, {"loss": 1.0})
    assert "images/s" not in capsys.readouterr().out
    log.write(3, {"loss": 1.0})
    assert "images/s" in capsys.readouterr().out


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    log = Log(folder, total_steps=2, images_per_step=1, is_main=False)
    log.write(1, {"loss": 1.0})
    log.close()
    assert not folder.exists()


def test_a_table_of_stages_is_markdown() -> None:
    rows = [["flow", "10", "3", "", "", "", "", ""]]
    lines = table(rows).splitlines()
    # the head, the rule below it, and the row
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
