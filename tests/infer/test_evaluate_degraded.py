"""Laws of the dirty inputs: real codecs, the same bits every time."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from skimage import data

from infer.evaluation.clips import make_lr
from infer.evaluation.codecs import CODECS, GROUP, Encode, recompress
from infer.evaluation.command import main
from infer.evaluation.conditions import (
    LEAD_IN,
    Noise,
    add_noise,
    degrade,
    parse_condition,
)

SPECS = {
    "h264": "h264:28",
    "hevc": "hevc:28",
    "vp9": "vp9:40",
    "av1": "av1:40",
    "mpeg4": "mpeg4:8",
    "mpeg2": "mpeg2:8",
    "mjpeg": "mjpeg:8",
}
NUM_FRAMES = LEAD_IN + 3
"""One I-frame inside, and frames after it."""


@pytest.fixture(scope="module")
def hr():
    """A photograph panned by two pixels a frame; its LR is 66x64."""
    photo = data.astronaut()
    rows = photo[20:276]
    starts = range(100, 100 + 2 * NUM_FRAMES, 2)
    frames = [rows[:, start : start + 264] for start in starts]
    return np.stack(frames)


def psnr(x, y):
    error = x.astype(float) - y
    mean = np.square(error).mean()
    return 10 * np.log10(255**2 / mean)


def lr_of(hr, spec):
    """LR frames of a condition."""
    condition = parse_condition(spec)
    return degrade(hr, condition, 4).lr


def sharpness(frames):
    """Mean step from a pixel to its neighbour on the right."""
    steps = np.diff(frames.astype(float), axis=2)
    return np.abs(steps).mean()


def test_a_spec_is_read_part_by_part():
    condition = parse_condition("blur:1.5+noise:10+h264:23+hevc:30")
    assert condition.blur == 1.5
    stages = (Noise(10), Encode("h264", 23), Encode("hevc", 30))
    assert condition.stages == stages
    clean = parse_condition("clean")
    assert clean.stages == ()


def test_every_codec_has_a_spec_here():
    assert SPECS.keys() == CODECS.keys()


@pytest.mark.parametrize("spec", SPECS.values())
def test_a_codec_returns_every_frame_in_its_place_and_the_same_bits(hr, spec):
    condition = parse_condition(spec)
    clean = make_lr(hr, 4)
    first = degrade(hr, condition, 4)
    again = degrade(hr, condition, 4)
    np.testing.assert_array_equal(first.lr, again.lr)
    np.testing.assert_array_equal(first.intra, again.intra)
    assert first.lr.shape == clean.shape
    for number, frame in enumerate(first.lr):
        agreement = [psnr(frame, other) for other in clean]
        assert np.argmax(agreement) == number
    # far below 8-bit rounding (59 dB), far above another frame of the pan (20 dB)
    quality = psnr(first.lr, clean)
    assert 22 < quality < 45


@pytest.mark.parametrize("spec", [SPECS[name] for name in CODECS if name != "mjpeg"])
def test_i_frames_are_those_of_the_group(hr, spec):
    condition = parse_condition(spec)
    intra = degrade(hr, condition, 4).intra
    # the encoder starts before the clip, so the second group begins inside
    assert list(np.flatnonzero(intra)) == [GROUP - LEAD_IN]


def test_every_frame_of_mjpeg_is_an_i_frame(hr):
    condition = parse_condition("mjpeg:4")
    intra = degrade(hr, condition, 4).intra
    assert intra.all()


def test_a_higher_crf_and_a_second_generation_are_further_from_the_truth(hr):
    clean = make_lr(hr, 4)
    # A second generation at 28 is still better than one at 40.
    specs = ("h264:18", "h264:28", "h264:28+h264:28", "h264:40")
    quality = [psnr(lr_of(hr, spec), clean) for spec in specs]
    assert quality == sorted(quality, reverse=True)
    assert len(set(quality)) == len(quality)


def test_noise_and_blur_come_before_the_encoder(hr):
    clean = make_lr(hr, 4)
    noisy = lr_of(hr, "noise:10")
    difference = noisy.astype(float) - clean
    inner = (clean > 40) & (clean < 215)
    deviation = difference[inner].std()
    # 40 levels are four sigma: nothing is clipped there; 3 % is five standard errors
    assert deviation == pytest.approx(10, rel=0.03)
    first = difference[0].ravel()
    second = difference[1].ravel()
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) < 0.05  # white in time: 12 k values, one in 5 sigma

    soft = lr_of(hr, "blur:4")
    # four pixels of HR are one of LR: a blur that anybody sees
    assert sharpness(soft) < 0.8 * sharpness(clean)
    # the encoder takes much of the noise away, and spends its bits on the rest of it
    both = lr_of(hr, "noise:10+h264:20")
    encoded = lr_of(hr, "h264:20")
    assert psnr(noisy, clean) < psnr(both, clean)
    assert psnr(both, clean) < psnr(encoded, clean)


def test_noise_does_not_repeat_between_generations():
    flat = np.full((2, 8, 8, 3), 128, np.uint8)
    first = add_noise(flat, 5.0, seed=0)
    second = add_noise(flat, 5.0, seed=1)
    assert (first != second).any()


def test_odd_sides_survive_every_encoder():
    photo = data.astronaut()[:71, :65]
    frames = np.stack([photo, photo])
    for name in CODECS:
        stage = Encode(name, 8)
        decoded, _ = recompress(frames, stage)
        assert decoded.shape == frames.shape
        # the padded row and column are cropped away, not shifted in
        assert psnr(decoded, frames) > 28, name


def test_a_clip_too_small_for_an_encoder_is_refused():
    small = np.zeros((1, 32, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="64x32: the encoders of --degrade need"):
        recompress(small, Encode("h264", 20))


@pytest.fixture(scope="module")
def report(hr, tiny_model, tmp_path_factory):
    """Two conditions through the whole command, with a tiny model."""
    folder = tmp_path_factory.mktemp("degraded")
    pan = folder / "pan"
    pan.mkdir()
    for number, frame in enumerate(hr[: LEAD_IN + 2]):
        picture = Image.fromarray(frame)
        picture.save(pan / f"{number:03d}.png")
    json_file = str(folder / "r.json")
    csv_file = str(folder / "r.csv")
    arguments = ["--hr", str(pan), "--degrade", "clean", "h264:30"]
    arguments += ["--model", str(tiny_model)]
    arguments += ["--json", json_file, "--csv", csv_file]
    arguments += ["--metrics", "psnr_y", "lpips", "clean_psnr", "phase", "jump"]
    status = main(arguments)
    assert status == 0
    return folder


def means_of(report):
    """Means of the rows of every condition."""
    text = (report / "r.json").read_text()
    return json.loads(text)["mean"]


def test_one_report_holds_every_condition_beside_bicubic(report):
    means = means_of(report)
    assert list(means) == ["clean", "h264:30"]
    for rows in means.values():
        first, second, _, last = rows
        assert first == "input"
        assert second == "bicubic"
        assert last == "HR"
    clean = means["clean"]["bicubic"]
    dirty = means["h264:30"]["bicubic"]
    assert clean["psnr_y"] > dirty["psnr_y"]
    assert clean["lpips"] < dirty["lpips"]
    assert "niqe" not in clean


def test_the_input_row_is_its_own_agreement_with_the_clean_frame(report, hr):
    means = means_of(report)
    assert means["clean"]["input"]["clean_psnr"] is None  # equal: infinite
    frames = hr[: LEAD_IN + 2]
    lr = lr_of(frames, "h264:30")
    clean = make_lr(frames, 4)
    per_frame = list(map(psnr, lr, clean))
    expected = np.mean(per_frame)
    dirty = means["h264:30"]
    # float32 in the program, float64 here
    assert dirty["input"]["clean_psnr"] == pytest.approx(expected, abs=1e-4)
    # bicubic of the dirty frame reduces to nearly the dirty frame
    assert dirty["bicubic"]["clean_psnr"] == pytest.approx(expected, abs=2)


def test_the_csv_names_the_condition_and_the_jump_is_at_the_i_frame(report):
    with (report / "r.csv").open() as file:
        lines = list(csv.DictReader(file))
    bicubic = [line for line in lines if line["row"] == "bicubic"]
    dirty = [line for line in bicubic if line["condition"] == "h264:30"]
    num_frames = LEAD_IN + 2
    assert len(dirty) == num_frames
    assert len(bicubic) == 2 * num_frames
    with_jump = [int(line["frame"]) for line in dirty if line["jump"]]
    assert with_jump == [LEAD_IN]
