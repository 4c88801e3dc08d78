"""Messages to the user, and options that nobody can mean."""

import os
import subprocess
import sys

import pytest
from clips import ROOT

from infer.command.failure import one_line, status
from infer.console import printable
from infer.errors import JobError
from infer.options import LIMITS, Options, check, parse_size, parse_tile
from infer.sinks.encoder_spec import Wish, encoder_spec
from infer.sinks.encoders import ENCODERS


def test_a_terminal_is_told_nothing_but_text():
    assert printable("ä 日本 🎬") == "ä 日本 🎬"
    assert printable("\x1b[2Ja\tb\nc\x9b\x7f") == "\\x1b[2Ja\\x09b\\x0ac\\x9b\\x7f"
    assert printable("left\u202eright") == "left\\u202eright"
    assert printable(os.fsdecode(b"\xff.mp4")) == "\\xff.mp4"


def test_an_error_names_the_output_and_not_its_work_folder():
    error = OSError(5, "Input/output error", "/a/.out.mp4.parts/000001.mkv.unfinished")
    assert one_line(error) == "error: /a/out.mp4: Input/output error"
    assert one_line(JobError("a\x1b[31m b")) == "error: a\\x1b[31m b"
    assert status(ValueError()) == 2
    assert status(JobError()) == 1
    assert status(OSError()) == 1


@pytest.mark.parametrize("name", LIMITS)
def test_numbers_that_no_input_could_make_right(name):
    low, high = LIMITS[name]
    for value in (low, high):
        check(Options(("in.mp4",), **{name: value}))
    for value in (low - 1, high + 1, 10**30):
        with pytest.raises(ValueError, match=f"--{name} {value}: expected at"):
            check(Options(("in.mp4",), **{name: value}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e308])
def test_waits_that_are_no_time(value):
    for name in ("timeout", "reconnect"):
        with pytest.raises(ValueError, match=f"--{name}"):
            check(Options(("in.mp4",), **{name: value}))


@pytest.mark.parametrize("text", ["", "x", "1x", "-4x4", "٣x٣", "9" * 5000 + "x1"])
def test_sizes_that_are_none(text):
    for parse in (parse_size, parse_tile):
        with pytest.raises(ValueError, match="expected"):
            parse(text)


@pytest.mark.parametrize("name", [n for n, e in ENCODERS.items() if e.quality])
def test_quality_beyond_an_encoder_s_scale(name, tmp_path):
    from clips import make_video

    from infer.sources.probe import probe

    if "nvenc" in name:
        pytest.skip("needs an NVIDIA GPU's encoder to be known at all")
    source = str(tmp_path / "in.mp4")
    info = probe(make_video(source, range(2), (64, 48)))
    worst = ENCODERS[name].max_crf
    assert encoder_spec(info, (64, 48), Wish(name, crf=worst)).crf == worst
    with pytest.raises(ValueError, match=f"goes from 0 to {worst}"):
        encoder_spec(info, (64, 48), Wish(name, crf=worst + 1))


CLOSED = """import os, sys
os.close(2)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_closed_stderr_changes_no_status_and_no_file(tmp_path):
    """The number of stderr must not become that of a file that is written."""
    words = [sys.executable, "-c", CLOSED, "-m", "infer", "doctor", "--help"]
    help_text = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, timeout=300)
    assert help_text.returncode == 0
    words = [sys.executable, "-c", CLOSED, "-m", "infer", "--video", "none.mp4"]
    refusal = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, timeout=300)
    assert refusal.returncode == 2
    assert refusal.stdout == b""
