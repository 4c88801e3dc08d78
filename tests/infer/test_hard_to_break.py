"""Whatever it is given, the command ends in a good file or in one clear line; nothing
half-done is left behind.
"""

import os
import resource
import subprocess
from pathlib import Path

import pytest
from clips import ROOT, make_video, real_pictures
from endings import SIZE, SOURCES, ends_well
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from infer.jobs.plan import make_plan
from infer.jobs.work_folder import WorkFolder
from infer.options import parse
from infer.sinks.mux import join
from infer.sinks.segments import SegmentWriter
from infer.sinks.timeline import Timeline
from infer.sinks.verify import check_output
from infer.sources.files import read_frames
from infer.sources.probe import probe

pytestmark = pytest.mark.timeout(
    120, method="thread"
)  # the watchdog: it also ends what hangs outside of Python


@pytest.mark.parametrize("name", SOURCES)
def test_every_container_as_it_is(upscale, sources, tmp_path, name):
    (tmp_path / name).write_bytes(sources[name])
    assert ends_well(tmp_path, {name}, *upscale("--video", tmp_path / name)) is None


FORMATS = [
    ("ffv1", "gray"),
    ("ffv1", "gray10le"),
    ("ffv1", "gray16le"),
    ("ffv1", "yuv410p"),
    ("ffv1", "yuv422p"),
    ("ffv1", "yuva444p"),
    ("ffv1", "yuv440p10le"),
    ("ffv1", "gbrp12le"),
    ("ffv1", "rgb48le"),
    ("rawvideo", "nv12"),
    ("rawvideo", "monob"),
    ("rawvideo", "rgb565le"),
    ("png", "ya8"),
    ("png", "rgba64be"),
    ("qtrle", "argb"),
    ("rawvideo", "yuyv422"),
    ("qtrle", "rgb24"),
    ("rawvideo", "bgra"),
    ("prores_ks", "yuv422p10le"),
]


@pytest.mark.parametrize(("codec", "layout"), FORMATS)
def test_every_pixel_format(upscale, tmp_path, codec, layout):
    suffix = {
        "prores_ks": "mov",
        "qtrle": "mov",
        "png": "mov",
        "rawvideo": "nut",
        "tiff": "avi",
        "bmp": "avi",
    }.get(codec, "mkv")
    source = make_video(
        str(tmp_path / f"in.{suffix}"), range(2), SIZE, codec=codec, pixel_format=layout
    )
    output = tmp_path / "o.mkv"
    status, printed = upscale("--video", source, "-o", output, "--codec", "ffv1")
    assert ends_well(tmp_path, {f"in.{suffix}"}, status, printed) is None
    results = [
        next(read_frames(probe(p))).rgb.astype(float) for p in (source, str(output))
    ]
    means = []
    for picture in results:
        full_scale = 65535 if picture.max() > 255 else 255
        means.append(picture.mean() / full_scale)
    # A twentieth of full scale: a model of random weights keeps the mean, and a wrong
    # range or depth does not.
    assert abs(means[0] - means[1]) < 0.05


def thin_or_small() -> st.SearchStrategy[tuple[int, int]]:
    side = st.integers(1, 40)
    return st.one_of(
        st.tuples(side, side),
        # A line of pixels, lying or standing.
        st.tuples(st.just(1), st.integers(1, 200)),
        st.tuples(st.integers(1, 200), st.just(1)),
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    size=thin_or_small(),
    layout=st.sampled_from(
        ["gray", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "bgr0", "yuva420p"]
    ),
    output=st.sampled_from(["o.mp4", "o.mkv", "o.mov"]),
    codec=st.sampled_from(
        [None, "libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores"]
    ),
    deinterlace=st.booleans(),
)
def test_every_size_in_every_container_and_codec(
    tmp_path, size, layout, output, codec, deinterlace
):
    """Everything but the model: planned, or refused in words; then all frames are
    written and read back.
    """
    source = make_video(
        str(tmp_path / "in.nut"), range(3), size, codec="rawvideo", pixel_format=layout
    )
    words = [
        "--video",
        source,
        "-o",
        str(tmp_path / output),
        "--overwrite",
        *(["--codec", codec] if codec else []),
    ]
    try:
        plan = make_plan(parse(words), source, str(tmp_path / output))
    except ValueError as error:
        assert "cannot" in str(  # noqa: PT017
            error
        )  # encode this size, or hold this codec; and what to use instead
        return
    assert plan.spec is not None
    writer = SegmentWriter(str(tmp_path / "part"), plan.spec, 10)
    frames = list(read_frames(plan.info, deinterlace=deinterlace))
    for frame in frames:
        # In the place of the model: every pixel four times.
        enlarged = frame.rgb.repeat(4, 0).repeat(4, 1)
        writer.write(enlarged, frame.pts, frame.duration)
    pts = tuple(frame.pts for frame in frames)
    durations = tuple(frame.duration for frame in frames)
    timeline = Timeline(pts, durations, plan.info.time_base)
    assert plan.package is not None
    copied = join(
        plan.output, plan.package, plan.spec, [writer.close()], plan.info, timeline
    )
    checks = check_output(
        plan.output, plan.package, plan.spec, plan.info, timeline, copied
    )
    results = {check.name: check for check in checks}
    for name in ("size", "frame count", "timestamps"):
        assert results[name].ok, str(results[name])
    info = probe(plan.output)
    shapes = [frame.rgb.shape for frame in read_frames(info)]
    width, height = size
    assert shapes == [(4 * height, 4 * width, 3)] * 3


@pytest.mark.parametrize(
    ("codec", "size", "output"),
    [
        ("libx265", "48x64", "o.mkv"),
        ("libx265", "48x64", "o.ts"),
        ("libsvtav1", "128x24", "o.mkv"),
    ],
)
def test_sizes_at_which_encoders_crash_or_hang_are_refused(
    upscale, sources, tmp_path, codec, size, output
):
    """In a file job and in a live session, which .ts is; the process would end, or
    never end.
    """
    source = tmp_path / "in.mp4"
    source.write_bytes(sources["a.mp4"])
    words = (
        "--video",
        source,
        "-o",
        tmp_path / output,
        "--codec",
        codec,
        "--size",
        size,
    )
    error = ends_well(tmp_path, {"in.mp4"}, *upscale(*words))
    assert f"{codec} cannot encode {size}" in (error or "")


NAMES = [
    "a b",
    "ä 日本 🎬",
    "new\nline",
    "-dash",
    "100%d",
    "%s%n",
    "12:30",
    "concat:a|b",
    "http:x",
    "q'\"",
    "[a]*?",
    "back\\slash",
    "~",
    # With the suffixes of the work folder still below the 255 bytes of file systems.
    "x" * 230,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_relative_or_not(upscale, sources, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    before = {f"{name}.mp4"}
    Path(f"{name}.mp4").write_bytes(sources["a.mp4"])
    status, printed = upscale(f"--video={name}.mp4", f"--output={name}.mkv")
    assert ends_well(tmp_path, before, status, printed) is None
    os.remove(f"{name}.mkv")
    status, printed = upscale(f"--video={tmp_path / name}.mp4")
    assert ends_well(tmp_path, before, status, printed) is None


def test_a_name_that_is_too_long_is_told(upscale, sources, tmp_path):
    # 254 bytes: a name for a file, and too long for its output
    source = tmp_path / f"{'x' * 250}.mp4"
    source.write_bytes(sources["a.mp4"])
    status, printed = upscale("--video", source)
    error = ends_well(tmp_path, {source.name}, status, printed)
    assert "File name too long" in (error or "")


@pytest.mark.parametrize("folder", ["file.txt", "/proc", "/proc/self", "/dev/full"])
def test_places_where_nobody_can_write(upscale, sources, tmp_path, folder):
    source = tmp_path / "in.mp4"
    source.write_bytes(sources["a.mp4"])
    (tmp_path / "file.txt").touch()
    status, printed = upscale("--video", source, "-o", tmp_path / folder / "o.mkv")
    error = ends_well(tmp_path, {"in.mp4", "file.txt"}, status, printed)
    assert "cannot write there" in error or "no such folder" in error


@pytest.mark.parametrize("output", ["o.mkv", "frames"])
def test_a_full_disk_loses_nothing_that_was_finished(upscale, tmp_path, output):
    source = make_video(
        str(tmp_path / "in.mp4"), range(24), SIZE, frames=real_pictures(24, *SIZE)
    )
    codec = ("--codec", "ffv1") if output == "o.mkv" else ()
    words = "--video", source, "--segment", 6, *codec, "-o", tmp_path / output
    status, printed = upscale(*words, "-o", tmp_path / f"whole_{output}")
    assert status == 0, printed
    before = {"in.mp4", f"whole_{output}"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def with_files_up_to(size: int) -> tuple[int, str]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            return upscale(*words)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "the disk is full" in (
        ends_well(tmp_path, before, *with_files_up_to(600)) or ""
    )
    if output == "o.mkv":
        # The groups fit, and the joined file does not, quite.
        biggest = (tmp_path / f"whole_{output}").stat().st_size - 100
        status, printed = with_files_up_to(biggest)
        assert status == 1
        assert "the disk is full" in printed
        assert not (tmp_path / output).exists()
        status, printed = upscale(*words)
        assert "going on after" in printed, (biggest, printed)
    else:
        status, printed = upscale(*words)
    assert status == 0, printed
    assert set(os.listdir(tmp_path)) == before | {output}
    files = [tmp_path / f"{n}{output}" for n in ("", "whole_")]
    contents = [
        [p.read_bytes() for p in sorted(f.iterdir())] if f.is_dir() else f.read_bytes()
        for f in files
    ]
    assert contents[0] == contents[1]


def test_a_second_job_on_one_output_is_refused(upscale, sources, tmp_path):
    source = tmp_path / "in.mp4"
    source.write_bytes(sources["a.mp4"])
    output = tmp_path / "o.mkv"
    with WorkFolder(str(output), {}):
        status, printed = upscale("--video", source, "-o", output)
    assert status == 1
    assert "another job is working on this output" in printed
    status, printed = upscale("--video", source, "-o", output)
    assert status == 0, printed


@pytest.mark.heavy
def test_two_processes_on_one_output(command, tmp_path):
    source = make_video(str(tmp_path / "in.mp4"), range(60), SIZE)
    output = tmp_path / "o.mkv"
    words = command("--video", source, "-o", output)
    jobs = [
        subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    # Below the watchdog's 120.
    printed = [job.communicate(timeout=100)[1] for job in jobs]
    losers = [text for job, text in zip(jobs, printed) if job.returncode]
    assert len(losers) == 1, printed
    assert "another job is working" in losers[0] or "already exists" in losers[0]
    assert (
        ends_well(tmp_path, {"in.mp4"}, 0, printed[1 - printed.index(losers[0])])
        is None
    )


def test_photographs_with_exif_are_pictures_like_others(upscale, tmp_path):
    folder = tmp_path / "photos"
    exif = Image.Exif()
    folder.mkdir()
    # turned by a quarter
    exif[0x0112] = 6
    exif[0x010F] = "a maker"
    for number, rgb in enumerate(real_pictures(2, *SIZE)):
        picture = Image.fromarray(rgb)
        picture.save(folder / f"{number}.jpg", exif=exif)
    status, printed = upscale("--video", folder)
    assert status == 0, printed
    # the pictures are turned upright, so there is no rotation to lose
    assert "rotation" not in printed
    names = sorted(os.listdir(tmp_path / "photos_x4"))
    assert names == ["0.png", "1.png"]
