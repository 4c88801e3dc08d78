"""No false alarm and no program's fault: a file in order is not called damaged, and
an odd one gets its line.
"""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.attack.conftest import Upscale
from tests.attack.outcome import first_picture, num_pictures, within
from tests.attack.recordings import record

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("output", ["o.mkv", "o.mp4", "o.mov"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_aac_of_a_transport_stream_is_the_same_sound(
    upscale: Upscale, tmp_path: Path, codec: str, output: str
) -> None:
    source = record(tmp_path / "in.ts", "mpegts", codec, "aac")
    outcome = upscale("--video", source, "-o", tmp_path / output)
    outcome.check_done()
    assert outcome.warnings == []


def test_the_reported_aac(upscale: Upscale, tmp_path: Path, field) -> None:
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", field("aac_in_ts.ts"), "-o", output)
    outcome.check_done()
    assert outcome.warnings == []


def test_another_sound_is_still_noticed(
    upscale: Upscale, tmp_path: Path, monkeypatch
) -> None:
    """The law above must not be met by comparing nothing."""
    import infer.sinks.mux as mux

    copied_packets = mux._copied_packets

    def lossy(*arguments: object):
        items = list(copied_packets(*arguments))  # type: ignore[arg-type]
        return iter(items[:-1])

    monkeypatch.setattr(mux, "_copied_packets", lossy)
    source = record(tmp_path / "in.ts", "mpegts", "libx264", "aac")
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    assert "audio" in "".join(outcome.warnings)


def test_empty_packets_of_theora_are_no_damage(
    upscale: Upscale, tmp_path: Path, field
) -> None:
    source = field("theora_empty_packets.ogv")
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert outcome.warnings == []
    assert num_pictures(output) == 25


@pytest.mark.parametrize("name", ["cmyk.jpg", "made.jpg", "made.tif"])
def test_cmyk_has_no_alpha(upscale: Upscale, tmp_path: Path, field, name: str) -> None:
    source = tmp_path / name
    if name.startswith("made"):
        picture = Image.new("CMYK", (64, 48), (10, 200, 30, 0))
        picture.save(source)
    else:
        shutil.copy(field(name), source)
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert "alpha" not in outcome.text


def test_identifiers_that_must_not_survive_are_not_called_lost(
    upscale: Upscale, tmp_path: Path
) -> None:
    """An MXF has unique identifiers of its package, which a new file has not."""
    source = record(tmp_path / "in.mxf", "mxf", "mpeg2video", "pcm_s16le")
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    text = outcome.text.lower()
    for word in ("uid", "umid", "uuid"):
        assert word not in text


ABSURD_RUNS = [
    ("--data.path", "nowhere"),
    ("--data.path", "nowhere.npy"),
    ("--optimizer.accumulation", "0"),
    ("--optimizer.accumulation", "-2"),
    ("--data.batch-size", "0"),
    ("--rollout.segment", "0"),
    ("--log-every", "0"),
    ("--checkpoint-every", "-1"),
]


@pytest.mark.parametrize(("option", "value"), ABSURD_RUNS)
def test_an_absurd_training_is_told_at_once(
    tmp_path: Path, monkeypatch, capsys, option: str, value: str
) -> None:
    """Before the first second of compilation, and before a folder is made for it."""
    from train.__main__ import main

    (tmp_path / "data/train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["--config=smoke", f"{option}={value}", "--out", "run"])
    except SystemExit as end:  # the parser's own refusal
        status = int(end.code or 0)
    capture = capsys.readouterr()
    text = capture.out + capture.err
    assert status == 2
    # settings have underscores, options have dashes: either is a name
    name = option.lstrip("-").replace("-", "_")
    assert name in text.replace("-", "_")
    assert "Traceback" not in text
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("path", ["~nosuch/in.mp4", "~nosuch", "~/in.mp4", "~"])
def test_a_home_that_nobody_has(refusal, tmp_path: Path, monkeypatch, path: str):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    outcome = refusal("--video", path, "-o", "~nosuch/o.mp4")
    outcome.check_refused(path, status=2)


@pytest.mark.parametrize("home", ["~nosuch", ""])
def test_a_cache_below_a_home_that_nobody_has(
    upscale: Upscale, tmp_path: Path, monkeypatch, home: str
) -> None:
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "o.mp4"
    upscale("--video", source, "-o", output).check_done()
    # a home may be made, and nothing else
    names = set(os.listdir(tmp_path)) - {"home"}
    assert names == {"in.mp4", "o.mp4"}


@pytest.mark.parametrize("name", ["in.mp4", "in.png", "in.m3u8", "folder/1.png"])
def test_a_pipe_with_a_name_is_told_at_once(refusal, tmp_path: Path, name: str):
    """Nobody ever writes to it, and waiting for that would never end."""
    (tmp_path / "folder").mkdir()
    node = tmp_path / name
    os.mkfifo(node)
    path = node.parent if "/" in name else node
    words = ("--video", path, "-o", tmp_path / "o.mkv")
    # a minute, on a machine with ten times its load
    outcome = within(60, lambda: refusal(*words))
    outcome.check_refused(status=2)
    assert stat.S_ISFIFO(node.stat().st_mode)


@pytest.mark.parametrize("kind", ["folder", "device", "socket"])
def test_what_is_no_file_is_told(
    refusal, tmp_path: Path, monkeypatch, kind: str
) -> None:
    # a relative name, because that of a socket has at most 107 bytes
    monkeypatch.chdir(tmp_path)
    source = Path("in.mp4")
    if kind == "folder":
        source.mkdir()
    elif kind == "device":
        source = Path("/dev/null")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(source))
    outcome = within(60, lambda: refusal("--video", source, "-o", "o.mkv"))
    outcome.check_refused()


FAR = 30
"""Levels: random weights keep the mean of a plain picture to less; the pictures beside
each other here differ by 150 and more."""


PERCENT = "50%d off.png"


@pytest.mark.parametrize("output", ["o.png", "o.mkv"])
def test_a_percent_sign_in_a_name_is_itself(
    upscale: Upscale, tmp_path: Path, hostile, output: str
) -> None:
    folder = tmp_path / "percent"
    shutil.copytree(hostile("percent"), folder)
    target = tmp_path / output
    upscale("--video", folder / PERCENT, "-o", target).check_done()
    mean = first_picture(target).mean()
    assert abs(mean - 200) < FAR


def test_percent_signs_in_a_folder_are_themselves(
    upscale: Upscale, tmp_path: Path, hostile
) -> None:
    output = tmp_path / "o"
    words = ("-o", output)
    upscale("--video", hostile("percent"), *words).check_done()
    means = {p.name: first_picture_of(p) for p in output.iterdir()}
    assert abs(means[PERCENT] - 200) < FAR
    assert abs(means["501 off.png"] - 50) < FAR


def first_picture_of(path: Path) -> float:
    """Mean of a picture whatever its name means to FFmpeg."""
    with Image.open(path) as picture:
        extrema = picture.convert("L").getextrema()
    return sum(map(float, extrema)) / 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["%03d.png", "a%d.jpg", "100%.png", "%%d.png", "[1].png"]
)
def test_any_name_of_a_picture(upscale: Upscale, tmp_path: Path, name: str) -> None:
    bright = Image.new("RGB", (64, 48), (200, 200, 200))
    dark = Image.new("RGB", (64, 48), (20, 20, 20))
    bright.save(tmp_path / name)
    # files that the name would mean as a pattern
    dark.save(tmp_path / "001.png")
    dark.save(tmp_path / "a1.jpg")
    output = tmp_path / "o.mkv"
    upscale("--video", tmp_path / name, "-o", output).check_done()
    mean = first_picture(output).mean()
    assert abs(mean - 200) < FAR


LIKE_ADDRESSES = ["12:30.ts", "OUT.TS", "http:x.ts", "file:x.ts", "a:b.m3u8", "C:x.TS"]


@pytest.mark.parametrize("name", [*LIKE_ADDRESSES, "concat:a|b.ts", "-.ts"])
def test_names_of_outputs_that_look_like_addresses_are_files(
    upscale: Upscale, tmp_path: Path, monkeypatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=3)
    outcome = upscale("--video", source, f"--output={name}")
    outcome.check_done()
    assert (tmp_path / name).is_file()
    # segments of a playlist lie beside it
    entries = os.listdir(tmp_path)
    names = {entry for entry in entries if not entry.endswith(".ts")}
    assert names | {name} == {"in.mp4", name}


@pytest.mark.parametrize("name", ["12:30.ts", "IN.TS", "http:x.ts", "tcp:1.mp4"])
def test_names_of_inputs_that_look_like_addresses_are_files(
    upscale: Upscale, tmp_path: Path, monkeypatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "a", "mpegts", "libx264", count=3)
    (tmp_path / "a").rename(tmp_path / name)
    for output in ("o.mkv", "o.ts"):
        upscale("--video", name, "-o", output).check_done()


# A colour, a title of the window, a return, a bell, an order of eight bits, and a turn
# of direction.
ESCAPES = ["\x1b[31mred", "\x1b]0;title\x07", "a\rb", "bell\x07", "\x9b2J", "\u202egpj"]


@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_escape_bytes_of_names_do_not_reach_the_terminal(
    upscale: Upscale, tmp_path: Path, name: str
) -> None:
    source = tmp_path / f"{name}.mp4"
    film = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    shutil.copy(film, source)
    output = tmp_path / f"{name}.mkv"
    absent = tmp_path / f"{name} missing.mp4"
    stream = tmp_path / f"{name}.ts"
    outcomes = [
        upscale("--video", source, "-o", output),
        # the second time its output is there already
        upscale("--video", source, "-o", output),
        upscale("--video", absent),
        upscale("--video", source, "-o", stream),
    ]
    statuses = [o.status for o in outcomes]
    assert statuses == [0, 2, 2, 0]
    for outcome in outcomes:
        for character in "\x1b\x07\x9b\u202e":
            assert character not in outcome.text


def test_words_inside_a_file_do_not_reach_the_terminal(
    upscale: Upscale, tmp_path: Path
) -> None:
    import av

    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as output:
        video = output.add_stream("ffv1", rate=25)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        video.metadata["title"] = "\x1b[31mred"
        output.metadata["\x1b[2J"] = "\x1b]0;title\x07"
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts = 0
        output.mux(video.encode(frame))
        output.mux(video.encode(None))
    outcome = upscale("--video", source, "-o", tmp_path / "o.mov")
    outcome.check_done()
    assert "\x1b" not in outcome.text


@pytest.mark.nightly
def test_closed_stderr_is_no_failure(command, tmp_path: Path) -> None:
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    output = tmp_path / "o.mp4"
    words = command("--video", source, "-o", output)
    process = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *words], cwd=ROOT)
    assert process.returncode == 0
    assert output.exists()


def test_a_stderr_that_breaks_is_no_failure(
    tiny_model: str, tmp_path: Path, monkeypatch
) -> None:
    """The reader of stderr has gone away."""
    from infer.__main__ import main

    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    reader, writer = os.pipe()
    os.close(reader)
    broken = os.fdopen(writer, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", broken)
    output = tmp_path / "o.mp4"
    words = ["--video", str(source), "-o", str(output)]
    status = main([*words, "--model", tiny_model])
    monkeypatch.undo()
    # its last words find no reader either
    with contextlib.suppress(BrokenPipeError):
        broken.close()
    assert status == 0
    assert output.exists()
