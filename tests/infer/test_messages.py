"""Messages to the user, and options that nobody can mean."""

import os
import subprocess
import sys

import pytest
from clips import ROOT, make_video

from infer.command.failure import one_line, status
from infer.console import printable
from infer.errors import JobError
from infer.options import LIMITS, Options, check, parse_size, parse_tile
from infer.sinks.encoder_spec import Wish, encoder_spec
from infer.sinks.encoders import ENCODERS
from infer.sources.probe import probe


def test_a_terminal_is_told_nothing_but_text():
    assert printable("ä 日本 🎬") == "ä 日本 🎬"
    # orders of a terminal, which may clear it or write its title
    orders = "\x1b[2Ja\tb\nc\x9b\x7f"
    assert printable(orders) == "\\x1b[2Ja\\x09b\\x0ac\\x9b\\x7f"
    # it turns the direction of the rest of the line
    assert printable("left\u202eright") == "left\\u202eright"
    # a name that is no text
    name = os.fsdecode(b"\xff.mp4")
    assert printable(name) == "\\xff.mp4"


def test_an_error_names_the_output_and_not_its_work_folder():
    error = OSError(5, "Input/output error", "/a/.out.mp4.parts/000001.mkv.unfinished")
    assert one_line(error) == "error: /a/out.mp4: Input/output error"
    coloured = JobError("a\x1b[31m b")
    assert one_line(coloured) == "error: a\\x1b[31m b"
    assert status(ValueError()) == 2
    assert status(JobError()) == 1
    assert status(OSError()) == 1


@pytest.mark.parametrize("name", LIMITS)
def test_numbers_that_no_input_could_make_right(name):
    low, high = LIMITS[name]
    for value in (low, high):
        check(options_with(name, value))
    for value in (low - 1, high + 1, 10**30):
        options = options_with(name, value)
        with pytest.raises(ValueError, match=f"--{name} {value}: expected at"):
            check(options)


def options_with(name: str, value: object) -> Options:
    return Options(("in.mp4",), **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e308])
def test_waits_that_are_no_time(value):
    for name in ("timeout", "reconnect"):
        options = options_with(name, value)
        with pytest.raises(ValueError, match=f"--{name}"):
            check(options)


@pytest.mark.parametrize("text", ["", "x", "1x", "-4x4", "٣x٣", "9" * 5000 + "x1"])
def test_sizes_that_are_none(text):
    for parse in (parse_size, parse_tile):
        with pytest.raises(ValueError, match="expected"):
            parse(text)


@pytest.mark.parametrize("name", [n for n, e in ENCODERS.items() if e.quality])
def test_quality_beyond_an_encoder_s_scale(name, tmp_path):
    if "nvenc" in name:
        pytest.skip("needs an NVIDIA GPU's encoder to be known at all")
    size = (64, 48)
    source = make_video(str(tmp_path / "in.mp4"), range(2), size)
    info = probe(source)
    worst = ENCODERS[name].max_crf
    spec = encoder_spec(info, size, Wish(name, crf=worst))
    assert spec.crf == worst
    beyond = Wish(name, crf=worst + 1)
    with pytest.raises(ValueError, match=f"goes from 0 to {worst}"):
        encoder_spec(info, size, beyond)


# The number 2 is free in the new process, and the next file that opens gets it.
CLOSED = """import os, sys
os.close(2)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_closed_stderr_changes_no_status_and_no_file(tmp_path):
    """The number of stderr must not become that of a file that is written."""
    command = [sys.executable, "-c", CLOSED, "-m", "infer"]
    words = [*command, "doctor", "--help"]
    # a time-out for a machine on which all tests run at once
    help_text = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, timeout=300)
    assert help_text.returncode == 0
    words = [*command, "--video", "none.mp4"]
    refusal = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, timeout=300)
    assert refusal.returncode == 2
    assert refusal.stdout == b""
