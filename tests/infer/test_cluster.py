"""Workers that Ray starts: real processes, and the bytes of a run without them.

Orders, deaths and damage are tried out in test_workers, by workers in one process.
"""

import json
import os
from pathlib import Path

import pytest
from clips import clip_of, scenes

pytest.importorskip("ray")
pytestmark = [pytest.mark.heavy(300), pytest.mark.timeout(900)]


def actors() -> list[str]:
    """Processes of workers on this machine."""
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(entry.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return [command for command in commands if command.startswith("ray::Worker")]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are counted")
def test_two_workers_give_the_bytes_of_one_run_and_end(run, tmp_path, cutting_model):
    source = clip_of(tmp_path / "in.mkv", scenes(*[5, 3, 4] * 3))
    alone, shared = tmp_path / "alone.mkv", tmp_path / "shared.mkv"
    report = tmp_path / "r.json"
    before = len(actors())
    words = ("--video", source, "--segment", 4)
    single = run(*words, "-o", alone, model=cutting_model)
    assert single.returncode == 0, single.stderr
    words = (*words, "-o", shared, "--workers", 2, "--report", report)
    both = run(*words, model=cutting_model)
    assert both.returncode == 0, both.stderr
    assert "times as fast as one by 8 cuts" in both.stderr
    assert shared.read_bytes() == alone.read_bytes()
    assert json.loads(report.read_text("utf-8"))["frames"] == 36
    assert len(actors()) <= before
