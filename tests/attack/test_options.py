"""Every absurd option gets its line at once: status 2, no traceback, no hang."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infer.__main__ import main
from tests.attack.outcome import FAULTS
from tests.attack.recordings import record
from tests.attack.tally import count

# By a thread: it also ends what hangs outside of Python.
pytestmark = pytest.mark.timeout(600, method="thread")

NUM_EXAMPLES = int(os.environ.get("SDVSR_OPTIONS", "3000"))
# More than any machine's integer.
HUGE = str(10**30)
# More digits than Python converts, which are 4,300.
LONG = "9" * 5000
# The turning points of signed and unsigned 32 bits, and of 64.
NUMBERS = (HUGE, "-" + HUGE, LONG, "2147483648", "4294967296", "18446744073709551616")
# Other digits, formats, and an order that clears a terminal.
WORDS = ("", " ", "x", "nan", "inf", "-1", "0x10", "1e9", "٣", "²", "%n%s", "\x1b[2J")
REALS = ("nan", "inf", "-inf", "1e308", "1e400", "-0", "0", "1e-320")
ABSURD: dict[str, tuple[str, ...]] = {
    "--fps": (
        *REALS,
        *NUMBERS,
        "1e99999999",
        "1e-99999999",
        "0/0",
        "1/0",
        "-25",
        "a/b",
    ),
    "--segment": (*NUMBERS, "0", "-1", "1.5"),
    "--crf": (*NUMBERS, "999", "-1"),
    "--frames": (HUGE, LONG, "0", "-1"),
    "--start": (*NUMBERS, "-1", "1000000"),
    "--steps": (*NUMBERS, "0", "-1"),
    "--stream": (*NUMBERS, "-1", "99"),
    "--seed": (HUGE, LONG, "1.5"),
    "--scale": (*NUMBERS, "1", "5", "0"),
    "--size": (*WORDS, "0x0", "99999999x99999999", f"{LONG}x1", "1x", "x1", "-4x4"),
    "--tile": (*WORDS, "0", "0x0", LONG, f"{LONG}x1", "-4", "1x"),
    "--timeout": (*REALS, *WORDS, "-5"),
    "--reconnect": ("nan", "inf", "-inf", "1e308", "1e400", "-5", *WORDS),
    "--threads": (*NUMBERS, "0", "-1"),
    "--workers": (*NUMBERS, "0", "-1", "1.5"),
    "--cut-at": ("-1", "-" + HUGE, "1.5", "x"),
    "--gpu-share": ("0", "-1", "2", "nan", "inf", "x"),
    "--worker-patience": ("nan", "inf", "-inf", "1e308", "-5", "0"),
    "--device": (*WORDS, "gpu:99", "tpu:-1", "cpu:x", "cpu:99", "cpu:" + HUGE),
    "--codec": (*WORDS, "h265x", "copy", "rawvideo"),
    "--preset": (*WORDS, "nosuch", "-5"),
    "--precision": ("float8", "", "int8"),
    "--on-resize": ("stretch", ""),
    "--report": ("/nowhere/r.json", "/", ".", "in.mp4", "x" * 5000, "in.mp4/r.json"),
    # Names of 5,000 bytes: file systems take 255.
    "--output": ("/nowhere/o.mp4", "o.xyz", "in.mp4", "x" * 5000 + ".mp4", "in.mp4/o"),
}
MILD = {
    "--timeout": {"1e-320", "٣"},
    "--reconnect": {"1e-320", "٣"},
    "--device": {""},
    "--codec": {""},
    "--preset": {""},
}
"""Values that make sense after all: a short time, other digits, nothing for a default.
"""
FINE: dict[str, tuple[str, ...]] = {
    "--scale": ("2", "3", "4"),
    "--size": ("64x48", "256x192"),
    "--crf": ("18", "30"),
    "--segment": ("1", "120"),
    "--frames": ("1", "9"),
    "--tile": ("auto", "off", "64"),
    "--output": ("o.mp4", "o.mkv", "o.mov", "frames", "o.ts", "o.m3u8"),
    "--codec": ("libx264", "libx265", "ffv1", "prores"),
    "--seed": ("0", "7"),
}
LONGEST_ANSWER = 16_000
"""Characters: the parser names every type of an option and repeats a value of 5,000."""
AT_ONCE = 60.0
"""Seconds that a refusal may take on a machine with ten times its load."""
NO_MODEL = "no such model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small video."""
    folder = tmp_path_factory.mktemp("options")
    source = folder / "in.mp4"
    record(source, "mp4", "libx264", "aac", count=2)
    return folder


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Status and all words of a command whose model is not there."""
    start_time = time.monotonic()
    try:
        status = main([*words, "--model", NO_MODEL])
    except SystemExit as end:  # the parser's own refusal
        status = int(end.code or 0)
    capture = capsys.readouterr()
    text = capture.out + capture.err
    assert time.monotonic() - start_time < AT_ONCE, words
    for fault in FAULTS:
        assert fault not in text, (words, text)
    assert "\x1b[2J" not in text, words
    return status, text


def check_refused(words: list[str], option: str, status: int, text: str) -> None:
    """It was wrong use, told in a few lines that name the option."""
    assert status == 2, (words, text)
    assert option.strip("-") in text, (words, text)
    assert len(text) < LONGEST_ANSWER, words
    if text.startswith("error"):
        assert len(text.splitlines()) == 1, text


SYSTEM = ("--report", "--output", "--device")
"""Options whose refusal may be in the words of the system, with its status."""


@pytest.mark.parametrize("option", ABSURD)
def test_each_absurd_value_is_told(
    request, folder: Path, monkeypatch, capsys, option: str
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(os.listdir(folder))
    mild = MILD.get(option, ())
    values = [value for value in ABSURD[option] if value not in mild]
    for value in values:
        words = ["--video", "in.mp4", f"{option}={value}"]
        status, text = run(words, capsys)
        if option in SYSTEM:
            assert status in (1, 2), (words, text)
        else:
            check_refused(words, option, status, text)
    assert sorted(os.listdir(folder)) == before
    count(request, "absurd options", len(values))


def any_words() -> st.SearchStrategy[list[str]]:
    """A command line of fine options and an absurd one, in any order."""
    fine = st.sampled_from(pairs_of(FINE))
    absurd = st.sampled_from(pairs_of(ABSURD))
    # no system hands over half a character, or NUL, in the words of a command
    letters = st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0x2FFF)
    names = st.sampled_from(sorted(ABSURD))
    anything = st.tuples(names, st.text(letters, max_size=12))
    fine_pairs = st.lists(fine, max_size=3)
    last_pair = st.one_of(absurd, anything)
    return st.builds(words_of, fine_pairs, last_pair)


Pair = tuple[str, str]


def pairs_of(table: dict[str, tuple[str, ...]]) -> list[Pair]:
    """Every option of a table with each of its values."""
    return [(name, value) for name, values in table.items() for value in values]


def words_of(fine: list[Pair], last: Pair) -> list[str]:
    """Words of a command line; `=` keeps a value that looks like an option."""
    return [f"{name}={value}" for name, value in (*fine, last)]


def attack(words: list[str], folder: Path, capsys) -> None:
    before = sorted(os.listdir(folder))
    status, text = run(["--video", "in.mp4", *words], capsys)
    assert status in (1, 2), (words, text)
    assert len(text) < LONGEST_ANSWER, words
    assert sorted(os.listdir(folder)) == before, words


UNHURRIED = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=False,
    print_blob=True,
)


@settings(UNHURRIED, max_examples=40)
@given(words=any_words())
def test_some_absurd_lines(request, folder: Path, monkeypatch, capsys, words) -> None:
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        attack(words, folder, capsys)
    count(request, "absurd command lines")


@pytest.mark.nightly
@settings(UNHURRIED, max_examples=NUM_EXAMPLES)
@given(words=any_words())
def test_many_absurd_lines(request, folder: Path, monkeypatch, capsys, words) -> None:
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        attack(words, folder, capsys)
    count(request, "absurd command lines")
