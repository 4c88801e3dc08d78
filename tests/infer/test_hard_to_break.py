"""Whatever it is given, the command ends in a good file or in one clear line; nothing half-done is left behind."""

import json
import os
import random
import resource
import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ROOT, make_video, real_pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from infer.__main__ import main
from infer.errors import JobError
from infer.media.fidelity import check_output
from infer.media.join import Timeline, join
from infer.media.probe import probe
from infer.media.reader import read_frames
from infer.media.segment import SegmentWriter
from infer.options import parse
from infer.plan import make_plan
from infer.work import WorkFolder

pytestmark = pytest.mark.timeout(120, method="thread")  # the watchdog: it also ends what hangs outside of Python
SIZE = (16, 16)  # one size, because every size is a compilation
COUNT = 6
SOURCES = {
    "a.mp4": {"codec": "libx264", "audio": "aac", "metadata": {"title": "x"}, "chapters": [(0, 0.1, "a")]},
    "a.mkv": {"codec": "libx264", "audio": "aac", "chapters": [(0, 0.1, "a"), (0.1, 0.2, "b")]},
    "h264.ts": {"codec": "libx264", "audio": "aac", "muxer": "mpegts"},
    "mpeg2.ts": {"codec": "mpeg2video", "muxer": "mpegts"},
    "a.avi": {"codec": "mpeg4", "audio": "mp3"},
    "a.webm": {"codec": "libvpx-vp9", "audio": "libopus"},
    "a.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "lossless.mkv": {"codec": "ffv1"},
    "a.flv": {"codec": "flv1"},
    "a.gif": {"codec": "gif", "pixel_format": "rgb8"},
    "a.y4m": {"codec": "wrapped_avframe"},
    "untimed.264": {"codec": "libx264", "muxer": "h264"},
    "a.mpg": {"codec": "mpeg1video"},
    "a.png": {"codec": "png", "pixel_format": "rgb24", "muxer": "image2"},
    "a.jpg": {"codec": "mjpeg", "pixel_format": "yuvj420p", "muxer": "image2"},
}
Upscale = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, bytes]:
    """A few real frames in every container."""
    folder, frames = tmp_path_factory.mktemp("sources"), real_pictures(COUNT, *SIZE)
    for name, how in SOURCES.items():
        count = 1 if how.get("muxer") == "image2" else COUNT
        make_video(str(folder / name), range(count), SIZE, frames=frames[:count], **how)  # type: ignore[arg-type]
    return {name: (folder / name).read_bytes() for name in SOURCES}


@pytest.fixture
def upscale(tiny_model, capsys) -> Upscale:
    """Run the command in this process; returns its exit status and what it said."""

    def call(*arguments: object, model: object = tiny_model) -> tuple[int, str]:
        status = main([*map(str, arguments), "--model", str(model)])
        return status, capsys.readouterr().err

    return call


def ends_well(folder: Path, before: set[str], status: int, said: str) -> str | None:
    """The error line of a job that failed cleanly; None if it left one output that decodes from end to end."""
    errors = [line for line in said.splitlines() if line.startswith("error")]
    left = sorted(set(os.listdir(folder)) - before)
    assert "Traceback" not in said
    assert "fault in this program" not in said
    assert "[Errno" not in said
    if status:
        assert status in (1, 2)
        assert (len(errors), left) == (1, []), said
        return errors[0]
    assert (len(errors), len(left)) == (0, 1), said
    frames = int(said.split("done ")[1].split(" frames in")[0].split()[-1])
    with av.open(str(folder / left[0])) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames > 0
    return None


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut, with bits flipped anywhere or near the beginning, with a part zeroed, doubled or missing."""
    changed, place = bytearray(data), rng.randrange(len(data))
    kind = rng.choice(["cut", "flip", "head", "zero", "double", "drop"])
    if kind == "cut":
        return data[:place]
    if kind in ("flip", "head"):
        for _ in range(rng.choice((1, 4, 32))):
            changed[rng.randrange(min(len(data), 1200) if kind == "head" else len(data))] ^= 1 << rng.randrange(8)
    elif kind == "zero":
        end = min(len(data), place + rng.randrange(1, 200))
        changed[place:end] = bytes(end - place)
    elif kind == "double":
        changed[place:place] = data[place : place + rng.randrange(1, 300)]
    else:
        del changed[place : place + rng.randrange(1, 300)]
    return bytes(changed)


@pytest.mark.parametrize("name", SOURCES)
def test_every_container_as_it_is(upscale, sources, tmp_path, name):
    (tmp_path / name).write_bytes(sources[name])
    assert ends_well(tmp_path, {name}, *upscale("--video", tmp_path / name)) is None


WORDS = [(), ("-o", "o.mkv"), ("-o", "o.mov", "--drop-streams"), ("-o", "o.mkv", "--segment", "2"),
         ("-o", "o.mkv", "--deinterlace"), ("-o", "o.mkv", "--start", "2", "--frames", "3")]  # fmt: skip


@pytest.mark.parametrize("seed", [s if s < 24 else pytest.param(s, marks=pytest.mark.heavy) for s in range(224)])
def test_damage_gives_a_good_file_or_one_line(upscale, sources, tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    name = rng.choice(sorted(sources))
    (tmp_path / name).write_bytes(damaged(sources[name], rng))
    words = ["--video", name, *rng.choice(WORDS)]
    try:
        info = probe(name)
    except (ValueError, JobError):
        info = None  # the command will say so
    if info is not None and ((info.width, info.height) != SIZE or info.layout.is_deep):
        return  # the damage made it another size, whose compilation is not worth its time
    ends_well(tmp_path, {name}, *upscale(*words))


FORMATS = [
    ("ffv1", "gray"), ("ffv1", "gray10le"), ("ffv1", "gray16le"), ("ffv1", "yuv410p"), ("ffv1", "yuv422p"),
    ("ffv1", "yuva444p"), ("ffv1", "yuv440p10le"), ("ffv1", "gbrp12le"), ("ffv1", "rgb48le"), ("rawvideo", "nv12"),
    ("rawvideo", "monob"), ("rawvideo", "rgb565le"), ("png", "ya8"), ("png", "rgba64be"),
    ("qtrle", "argb"), ("rawvideo", "yuyv422"), ("qtrle", "rgb24"), ("rawvideo", "bgra"),
    ("prores_ks", "yuv422p10le"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "layout"), FORMATS)
def test_every_pixel_format(upscale, tmp_path, codec, layout):
    suffix = {"prores_ks": "mov", "qtrle": "mov", "png": "mov", "rawvideo": "nut", "tiff": "avi", "bmp": "avi"}.get(
        codec, "mkv"
    )
    source = make_video(str(tmp_path / f"in.{suffix}"), range(2), SIZE, codec=codec, pixel_format=layout)
    status, said = upscale("--video", source, "-o", tmp_path / "o.mkv", "--codec", "ffv1")
    assert ends_well(tmp_path, {f"in.{suffix}"}, status, said) is None
    shown = [next(read_frames(probe(p))).rgb.astype(float) for p in (source, str(tmp_path / "o.mkv"))]
    means = [p.mean() / (65535 if p.max() > 255 else 255) for p in shown]
    assert abs(means[0] - means[1]) < 0.05


def thin_or_small() -> st.SearchStrategy[tuple[int, int]]:
    side = st.integers(1, 40)
    return st.one_of(st.tuples(side, side), st.tuples(st.just(1), st.integers(1, 200)),
                     st.tuples(st.integers(1, 200), st.just(1)))  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=thin_or_small(),
    layout=st.sampled_from(["gray", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "bgr0", "yuva420p"]),
    output=st.sampled_from(["o.mp4", "o.mkv", "o.mov"]),
    codec=st.sampled_from([None, "libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores"]),
    deinterlace=st.booleans(),
)
def test_every_size_in_every_container_and_codec(tmp_path, size, layout, output, codec, deinterlace):
    """Everything but the model: planned, or refused in words; then all frames are written and read back."""
    source = make_video(str(tmp_path / "in.nut"), range(3), size, codec="rawvideo", pixel_format=layout)
    words = ["--video", source, "-o", str(tmp_path / output), "--overwrite", *(["--codec", codec] if codec else [])]
    try:
        plan = make_plan(parse(words), source, str(tmp_path / output))
    except ValueError as error:
        assert "cannot" in str(error)  # encode this size, or hold this codec; and what to use instead  # noqa: PT017
        return
    assert plan.spec is not None
    writer = SegmentWriter(str(tmp_path / "part"), plan.spec, 10)
    frames = list(read_frames(plan.info, deinterlace=deinterlace))
    for frame in frames:
        writer.write(frame.rgb.repeat(4, 0).repeat(4, 1), frame.pts, frame.duration)
    times = tuple(f.pts for f in frames), tuple(f.duration for f in frames)
    timeline = Timeline(*times, plan.info.time_base)
    assert plan.package is not None
    copied = join(plan.output, plan.package, plan.spec, [writer.close()], plan.info, timeline)
    checks = check_output(plan.output, plan.package, plan.spec, plan.info, timeline, copied)
    assert [str(c) for c in checks if not c.ok and c.name in ("size", "frame count", "timestamps")] == []
    shapes = [f.rgb.shape for f in read_frames(probe(plan.output))]
    assert shapes == [(4 * size[1], 4 * size[0], 3)] * 3


@pytest.mark.parametrize(
    ("codec", "size", "output"),
    [("libx265", "48x64", "o.mkv"), ("libx265", "48x64", "o.ts"), ("libsvtav1", "128x24", "o.mkv")],
)
def test_sizes_at_which_encoders_crash_or_hang_are_refused(upscale, sources, tmp_path, codec, size, output):
    """In a file job and in a live session, which .ts is; the process would end, or never end."""
    (tmp_path / "in.mp4").write_bytes(sources["a.mp4"])
    words = "--video", tmp_path / "in.mp4", "-o", tmp_path / output, "--codec", codec, "--size", size
    error = ends_well(tmp_path, {"in.mp4"}, *upscale(*words))
    assert f"{codec} cannot encode {size}" in (error or "")


NAMES = ["a b", "ä 日本 🎬", "new\nline", "-dash", "100%d", "%s%n", "12:30", "concat:a|b", "http:x", "q'\"",
         "[a]*?", "back\\slash", "~", "x" * 230]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_relative_or_not(upscale, sources, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    before = {f"{name}.mp4"}
    Path(f"{name}.mp4").write_bytes(sources["a.mp4"])
    status, said = upscale(f"--video={name}.mp4", f"--output={name}.mkv")
    assert ends_well(tmp_path, before, status, said) is None
    os.remove(f"{name}.mkv")
    status, said = upscale(f"--video={tmp_path / name}.mp4")
    assert ends_well(tmp_path, before, status, said) is None


def test_a_name_that_is_too_long_is_told(upscale, sources, tmp_path):
    (tmp_path / f"{'x' * 250}.mp4").write_bytes(sources["a.mp4"])
    status, said = upscale("--video", tmp_path / f"{'x' * 250}.mp4")
    assert "File name too long" in (ends_well(tmp_path, {f"{'x' * 250}.mp4"}, status, said) or "")


@pytest.mark.parametrize("folder", ["file.txt", "/proc", "/proc/self", "/dev/full"])
def test_places_where_nobody_can_write(upscale, sources, tmp_path, folder):
    (tmp_path / "in.mp4").write_bytes(sources["a.mp4"])
    (tmp_path / "file.txt").touch()
    status, said = upscale("--video", tmp_path / "in.mp4", "-o", tmp_path / folder / "o.mkv")
    error = ends_well(tmp_path, {"in.mp4", "file.txt"}, status, said)
    assert "cannot write there" in error or "no such folder" in error


@pytest.mark.parametrize("output", ["o.mkv", "frames"])
def test_a_full_disk_loses_nothing_that_was_finished(upscale, tmp_path, output):
    source = make_video(str(tmp_path / "in.mp4"), range(24), SIZE, frames=real_pictures(24, *SIZE))
    codec = ("--codec", "ffv1") if output == "o.mkv" else ()
    words = "--video", source, "--segment", 6, *codec, "-o", tmp_path / output
    assert upscale(*words, "-o", tmp_path / f"whole_{output}")[0] == 0
    before = {"in.mp4", f"whole_{output}"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def with_files_up_to(size: int) -> tuple[int, str]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            return upscale(*words)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "the disk is full" in (ends_well(tmp_path, before, *with_files_up_to(600)) or "")
    if output == "o.mkv":
        biggest = (tmp_path / f"whole_{output}").stat().st_size - 100
        status, said = with_files_up_to(biggest)
        assert (status, "the disk is full" in said, (tmp_path / output).exists()) == (1, True, False)
        status, said = upscale(*words)
        assert "going on after" in said, (biggest, said)
    else:
        status, said = upscale(*words)
    assert status == 0, said
    assert set(os.listdir(tmp_path)) == before | {output}
    files = [tmp_path / f"{n}{output}" for n in ("", "whole_")]
    contents = [[p.read_bytes() for p in sorted(f.iterdir())] if f.is_dir() else f.read_bytes() for f in files]
    assert contents[0] == contents[1]


def test_a_second_job_on_one_output_is_refused(upscale, sources, tmp_path):
    (tmp_path / "in.mp4").write_bytes(sources["a.mp4"])
    with WorkFolder(str(tmp_path / "o.mkv"), {}):
        status, said = upscale("--video", tmp_path / "in.mp4", "-o", tmp_path / "o.mkv")
    assert status == 1
    assert "another job is working on this output" in said
    assert upscale("--video", tmp_path / "in.mp4", "-o", tmp_path / "o.mkv")[0] == 0


@pytest.mark.heavy
def test_two_processes_on_one_output(command, tmp_path):
    source = make_video(str(tmp_path / "in.mp4"), range(60), SIZE)
    words = command("--video", source, "-o", tmp_path / "o.mkv")
    jobs = [subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [job.communicate(timeout=100)[1] for job in jobs]
    lost = [text for job, text in zip(jobs, said) if job.returncode]
    assert len(lost) == 1, said
    assert "another job is working" in lost[0] or "already exists" in lost[0]
    assert ends_well(tmp_path, {"in.mp4"}, 0, said[1 - said.index(lost[0])]) is None


def test_photographs_with_exif_are_pictures_like_others(upscale, tmp_path):
    folder, exif = tmp_path / "photos", Image.Exif()
    folder.mkdir()
    exif[0x0112], exif[0x010F] = 6, "a maker"  # turned by a quarter
    for number, rgb in enumerate(real_pictures(2, *SIZE)):
        Image.fromarray(rgb).save(folder / f"{number}.jpg", exif=exif)
    status, said = upscale("--video", folder)
    assert status == 0, said
    assert "PNG frames hold no timestamps and no rotation" in said
    assert sorted(os.listdir(tmp_path / "photos_x4")) == ["0.png", "1.png"]


def test_a_broken_packet_of_sound_does_not_cost_the_video(upscale, sources, tmp_path):
    """MPEG-TS sound has headers of its own, which mp4 takes off; one that is broken is left out, and said."""
    data = sources["h264.ts"]
    with av.open(make(tmp_path / "in.ts", data)) as container:
        places = [p.pos for p in container.demux(audio=0) if p.size]
    place = data.index(b"\xff\xf1", places[len(places) // 2])
    make(tmp_path / "in.ts", data[:place] + b"\x00\x00" + data[place + 2 :])
    status, said = upscale("--video", tmp_path / "in.ts", "-o", tmp_path / "o.mp4")
    assert ends_well(tmp_path, {"in.ts"}, status, said) is None
    assert "not as in the source: audio 1" in said
    assert len(list(read_frames(probe(str(tmp_path / "o.mp4"))))) == COUNT


def make(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def tampered(data: bytes) -> dict[str, bytes]:
    """Damaged weight files by what was done to them."""
    size = struct.unpack("<Q", data[:8])[0]
    head, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    key = next(k for k in head if k != "__metadata__")

    def built(new: dict) -> bytes:
        text = json.dumps(new).encode()
        return struct.pack("<Q", len(text)) + text + body

    config, rest = head["__metadata__"]["config"], {k: v for k, v in head.items() if k != "__metadata__"}
    flipped = bytearray(data)
    flipped[-100] ^= 8
    return {
        "empty": b"", "cut": data[:-1000], "cut header": data[: size // 2], "long header": b"\xff" * 8 + data[8:],
        "header of 100 MB": struct.pack("<Q", 10**8) + data[8:], "weights": bytes(flipped),
        "config": built({**rest, "__metadata__": {**head["__metadata__"], "config": config.replace("4", "3")}}),
        "bare config": built({**rest, "__metadata__": {"config": "{"}}),
        "unknown field": built({**rest, "__metadata__": {"config": '{"speed": 9}'}}),
        "no config": built(rest), "pickle": b"\x80\x04K\x01.",
        "dtype": built({**rest, "__metadata__": {"config": config}, key: {**head[key], "dtype": "I32"}}),
        "shape": built({**rest, "__metadata__": {"config": config},
                        key: {**head[key], "shape": [1, *head[key]["shape"]]}}),
    }  # fmt: skip


def test_tampered_weights_are_refused_in_one_line(upscale, sources, tmp_path, tiny_model):
    (tmp_path / "in.mp4").write_bytes(sources["a.mp4"])
    model = tmp_path / "m.safetensors"
    for what, data in tampered(Path(tiny_model).read_bytes()).items():
        model.write_bytes(data)
        status, said = upscale("--video", tmp_path / "in.mp4", model=model)
        error = ends_well(tmp_path, {"in.mp4", "m.safetensors"}, status, said)
        assert status == 2, what
        assert str(model) in (error or ""), what


def test_missing_and_foolish_timestamps(upscale, tmp_path):
    source = make_video(str(tmp_path / "in.mkv"), [0, 0, 5, 5, 5, 2**40], SIZE, Fraction(1, 1000), codec="ffv1")
    status, said = upscale("--video", source, "-o", tmp_path / "o.mkv", "--codec", "ffv1")
    assert ends_well(tmp_path, {"in.mkv"}, status, said) is None
    info = probe(str(tmp_path / "o.mkv"))
    times = [f.pts for f in read_frames(info)]
    assert times == sorted(set(times))
    assert np.diff(times).min() > 0


def test_a_display_matrix_beyond_all_bounds(upscale, tmp_path):
    """Its shift grows with the picture."""
    matrix = (0, 65536, 0, -65536, 0, 0, 2**30, -(2**30), 1 << 30)
    make_video(str(tmp_path / "in.mp4"), range(2), SIZE, matrix=matrix)
    assert ends_well(tmp_path, {"in.mp4"}, *upscale("--video", tmp_path / "in.mp4")) is None


def test_times_that_a_container_cannot_hold_are_told(upscale, tmp_path):
    source = make_video(str(tmp_path / "in.mkv"), [0, 1, 2**33], SIZE, Fraction(1, 1000), codec="ffv1")
    status, said = upscale("--video", source, "-o", tmp_path / "o.mov")
    errors = [line for line in said.splitlines() if line.startswith("error")]
    assert (status, len(errors), (tmp_path / "o.mov").exists()) == (1, 1, False), said
    assert "cannot hold a picture at its time" in errors[0]
    assert upscale("--video", source, "-o", tmp_path / "o.mkv")[0] == 0
