"""`infer plan` and --prescale, on real clips."""

import itertools
import json

import av
import numpy as np
import pytest
from PIL import Image

from infer.__main__ import main
from infer.command.plan import (
    Prediction,
    command_line,
    duration_in_words,
    prescale_factor,
    propose,
)
from infer.jobs.plan import make_plan
from infer.options import Options
from infer.sources.files import read_frames
from infer.sources.info import reduced
from infer.sources.inspection import Inspection
from infer.sources.probe import probe
from tests.infer.clips import ROOT, make_video

CLIP = ROOT / "examples" / "nasa_320x180.mp4"


@pytest.fixture(scope="module")
def enlarged(tmp_path_factory):
    """Six real frames and the same enlarged to double, as a lossless file."""
    size = (640, 360)
    native = []
    large = []
    with av.open(str(CLIP)) as container:
        for frame in itertools.islice(container.decode(video=0), 6):
            rgb = frame.to_ndarray(format="rgb24")
            native.append(rgb)
            picture = Image.fromarray(rgb)
            picture = picture.resize(size, Image.Resampling.BICUBIC)
            large.append(np.asarray(picture))
    path = str(tmp_path_factory.mktemp("enlarged") / "large.mkv")
    make_video(path, size=size, frames=large, codec="ffv1", pixel_format="yuv444p")
    return path, np.stack(native)


def options(path, **changes):
    return Options(video=(path,), **changes)


def test_prescale_gives_the_model_the_frames_from_before_the_enlargement(enlarged):
    path, native = enlarged
    info = reduced(probe(path), 0.5)
    assert info.width == 320
    assert info.height == 180
    frames = np.stack([frame.rgb for frame in read_frames(info)])
    error = np.square(frames.astype(float) - native).mean()
    psnr = 10 * np.log10(255**2 / error)
    # bicubic up and down again softens a little: 32 dB; without an antialiased filter
    # or shifted by half a pixel it is below 28
    assert psnr > 30


def test_prescale_decides_size_name_and_identity_of_a_job(enlarged, tmp_path):
    path, _ = enlarged
    plain = make_plan(options(path), path)
    half = make_plan(options(path, prescale=0.5), path)
    assert plain.size == (2560, 1440)
    # Four times the half of 640x360.
    assert half.size == (1280, 720)
    assert half.output.endswith("large_x2.mkv")
    assert half.info.matrix == plain.info.matrix
    assert "reduced_to" not in plain.described()
    assert half.described()["reduced_to"] == "320x180"
    other = make_plan(options(path, prescale=0.25), path)
    assert other.described() != half.described()


def test_the_shape_on_screen_survives_a_size_that_does_not_divide(tmp_path):
    path = make_video(str(tmp_path / "odd.mp4"), size=(98, 66))
    half = make_plan(options(path, prescale=0.33), path)
    width, height = half.size
    aspect = width * half.spec.sar / height
    assert aspect == pytest.approx(
        98 / 66, rel=1e-3
    )  # SAR is a ratio of 16-bit numbers


def test_a_job_with_prescale_writes_a_picture_of_that_size(
    enlarged, tiny_model, tmp_path
):
    path, _ = enlarged
    output = str(tmp_path / "out.mkv")
    words = ["--video", path, "--model", str(tiny_model), "--output", output]
    words += ["--prescale", "0.1", "--frames", "2", "--report", str(tmp_path / "r")]
    status = main(words)
    assert status == 0
    info = probe(output)
    assert info.width == 256
    assert info.height == 144
    assert info.num_frames == 2
    report = json.loads((tmp_path / "r").read_text())
    assert report["input_size"] == [640, 360]
    assert report["model_input_size"] == [64, 36]
    assert report["damage"]["resized_frames"] == 0


# Nothing, an enlargement, and no number.
@pytest.mark.parametrize("value", ["0", "2", "nan"])
def test_an_absurd_prescale_is_refused(value, capsys):
    status = main(["--video", "a.mp4", "--prescale", value])
    assert status == 2
    assert "expected 0.1 to 1" in capsys.readouterr().err


def test_a_live_source_cannot_be_reduced(capsys):
    status = main(["--video", "udp://127.0.0.1:9", "--prescale", "0.5"])
    assert status == 2
    assert "not for live" in capsys.readouterr().err


def test_the_plan_says_all_and_writes_nothing_but_its_report(
    enlarged, tiny_model, tmp_path, capsys
):
    path, _ = enlarged
    output = tmp_path / "out.mkv"
    report = tmp_path / "plan.json"
    words = ["plan", "--video", path, "--model", str(tiny_model)]
    status = main([*words, "--output", str(output), "--report", str(report)])
    assert status == 0
    text = capsys.readouterr().err
    assert "640x360, 6 frames, 25/s, ffv1" in text
    assert "enlarged before" in text
    assert "progressive by content, progressive by flag" in text
    assert "0 in 6 frames" in text
    assert "command  python -m infer --video" in text
    assert "--prescale 0.5" in text
    assert sorted(tmp_path.iterdir()) == [report]
    facts = json.loads(report.read_text())
    assert facts["inspection"]["blown_up"]
    assert facts["prediction"]["seconds_per_frame"] > 0
    assert facts["prediction"]["memory"] > 0
    proposals = [proposal["option"] for proposal in facts["proposals"]]
    assert proposals == ["--prescale 0.5"]


def test_a_stream_cannot_be_planned(capsys):
    status = main(["plan", "--video", "udp://127.0.0.1:9"])
    assert status == 2
    assert "not streams" in capsys.readouterr().err


def inspection(detail=(1.0, 1.0), scan="progressive"):
    return Inspection(100, detail, scan, ())


@pytest.mark.parametrize(
    ("detail", "factor"),
    [((1.0, 1.0), None), ((0.5, 0.5), 0.5), ((0.53, 0.3), 0.5), ((0.3, 0.3), 0.3333)],
)
def test_a_proposed_reduction_keeps_the_detail_of_both_axes(detail, factor):
    assert prescale_factor(inspection(detail)) == factor


def test_proposals_follow_from_facts():
    info = probe(str(CLIP))
    # a GiB of sixteen
    fits = Prediction("cpu:0", 0.4, 2**30, 2**34)
    assert propose(info, inspection(), fits) == []
    woven = propose(info, inspection(scan="interlaced"), fits)
    assert [p.option for p in woven] == ["--deinterlace"]
    film = propose(info, inspection(scan="telecined"), fits)
    assert "pulldown" in film[0].reason
    does_not_fit = fits._replace(available=2**29)
    tight = propose(info, inspection(), does_not_fit)
    assert [p.option for p in tight] == ["--tile auto"]
    line = command_line("a film.mp4", [*film, *woven])
    assert line == "python -m infer --video 'a film.mp4' --deinterlace"


def test_durations_are_told_in_the_unit_that_fits():
    # Forty seconds, ten minutes, three and a half hours.
    texts = [duration_in_words(seconds) for seconds in (40, 600, 12600)]
    assert texts == ["40 s", "10 min", "3.5 h"]
