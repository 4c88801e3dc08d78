import csv
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from skimage import data

from infer.evaluation.clips import make_lr, ping_pong, read_clip, to_float, to_uint8
from infer.evaluation.command import main
from infer.evaluation.curves import draw_curves
from infer.evaluation.drift import OLD_AGE, YOUNG, old_frames
from infer.evaluation.methods import ABLATIONS, bicubic, load_models, variant
from infer.evaluation.outputs import check_outputs
from infer.evaluation.pictures import LABEL, richest_window
from sdvsr_jax.config import nano

NUM_FRAMES = 4
# two blocks for NIQE, and two pixels that 4x does not divide
HEIGHT = 98
WIDTH = 194


def save(folder, frames):
    folder.mkdir()
    for number, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        picture.save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """A photograph panned two pixels a frame: HR, the same blurred, and its LR."""
    root = tmp_path_factory.mktemp("pan")
    photo = data.astronaut()[:HEIGHT]
    # Two pixels a frame: half a pixel of LR, which flow must see.
    starts = range(60, 60 + 2 * NUM_FRAMES, 2)
    frames = [photo[:, start : start + WIDTH] for start in starts]
    hr = np.stack(frames)
    blur = ImageFilter.GaussianBlur(1)
    soft = [Image.fromarray(frame).filter(blur) for frame in frames]
    lr = make_lr(hr[:, :96, :192], 4)
    save(root / "hr", hr)
    save(root / "soft", map(np.asarray, soft))
    save(root / "lr", lr)
    return root


@pytest.fixture(scope="module")
def judged(pan):
    """The command on a finished SR: everything it writes."""
    out = pan / "out"
    out.mkdir()
    files = {
        "--hr": pan / "hr",
        "--sr": pan / "soft",
        "--json": out / "r.json",
        "--csv": out / "r.csv",
        "--plot": out / "plot.png",
        "--compare": out / "look.png",
    }
    arguments = []
    for option, path in files.items():
        arguments += [option, str(path)]
    status = main(arguments)
    assert status == 0
    return out


def document_of(path):
    """The content of a file of numbers."""
    return json.loads(path.read_text())


def pixels_of(path):
    return np.asarray(Image.open(path))


def test_earlier_results_may_be_replaced(judged):
    assert len(list(judged.iterdir())) == 6
    for path in judged.iterdir():
        check_outputs([("--option", path)], [], False)
    thesis = judged.parent / "thesis.csv"
    thesis.write_text("condition,of,the,patient")
    with pytest.raises(ValueError, match="already exists"):
        check_outputs([("--csv", thesis)], [], False)
    check_outputs([("--csv", thesis)], [], True)


def test_two_results_need_two_files(tmp_path):
    one = tmp_path / "r.json"
    with pytest.raises(ValueError, match="same command"):
        check_outputs([("--json", one), ("--csv", one)], [], False)


def test_the_json_holds_protocol_means_and_frames(judged):
    document = document_of(judged / "r.json")
    rows = document["clips"]["hr"]
    assert set(rows) == {"bicubic", "SR", "HR"}
    mean = rows["SR"]["mean"]
    frames = rows["SR"]["frames"]
    expected = {
        "psnr_y",
        "ssim_y",
        "lpips",
        "niqe",
        "tlp",
        "tof",
        "warping",
        "lr_psnr",
        "colour",
        "phase",
        "phase_flat",
    }
    assert set(mean) == expected
    assert frames.keys() == mean.keys()
    for column in frames.values():
        assert len(column) == NUM_FRAMES
    lpips = np.mean(frames["lpips"])
    # both are rounded to six digits
    np.testing.assert_allclose(lpips, mean["lpips"], atol=1e-5)
    assert frames["tlp"][0] is None
    assert "squeeze" in document["protocol"]["LPIPS, tLP"]
    assert "--dists-weights" in document["protocol"]["DISTS"]
    assert document["mean"]["SR"] == mean


def test_a_slightly_blurred_truth_beats_bicubic_everywhere(judged):
    means = document_of(judged / "r.json")["mean"]
    soft = means["SR"]
    bicubic = means["bicubic"]
    for metric in ("psnr_y", "ssim_y", "lr_psnr"):
        assert soft[metric] > bicubic[metric]
    for metric in ("lpips", "tlp", "tof"):
        assert soft[metric] < bicubic[metric]
    assert soft["colour"] < 0.5  # a blur moves no colour by a level
    assert bicubic["colour"] == 0


def test_csv_and_json_say_the_same(judged):
    report = judged / "r.json"
    rows = document_of(report)["clips"]["hr"]
    frames = rows["SR"]["frames"]
    with (judged / "r.csv").open() as file:
        lines = list(csv.DictReader(file))
    lines = [line for line in lines if line["row"] == "SR"]
    numbers = [int(line["frame"]) for line in lines]
    assert numbers == list(range(NUM_FRAMES))
    psnr = [float(line["psnr_y"]) for line in lines]
    np.testing.assert_allclose(psnr, frames["psnr_y"], rtol=1e-5)
    # no frame before the first, and no weights of DISTS
    assert lines[0]["tof"] == ""
    assert lines[1]["dists"] == ""


def test_pictures_show_what_was_judged(judged):
    zoom = 3
    side = 96
    look = pixels_of(judged / "look.png")
    # frames 2 and 3: LR, bicubic, SR, HR
    height = 2 * (side * zoom + LABEL)
    width = 4 * side * zoom
    assert look.shape == (height, width, 3)
    sheet = pixels_of(judged / "look_sheet.png")
    last = judged.parent / "hr" / f"{NUM_FRAMES - 1:03d}.png"
    # cropped to a multiple of four
    truth = pixels_of(last)[:96, :192]
    right = sheet[LABEL:, -192:]
    np.testing.assert_array_equal(right, truth)
    time_slice = pixels_of(judged / "look_xt.png")
    # a strip of each: every frame is four lines high
    height = 4 * (NUM_FRAMES * 4 + LABEL)
    assert time_slice.shape == (height, side * 4, 3)


def test_curves_have_a_panel_per_metric_and_a_line_per_row(judged):
    assert (judged / "plot.png").exists()
    rows = {
        "bicubic": {"psnr_y": np.array([20.0, 21.0]), "lr_psnr": np.zeros(2)},
        "HR": {"lr_psnr": np.ones(2)},
    }
    figure = draw_curves({"": {"pan": rows}})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["pan: PSNR-Y dB", "pan: LR dB"]
    lines = [axes.lines for axes in figure.axes]
    assert [len(axis) for axis in lines] == [1, 2]
    (curve,) = lines[0]
    np.testing.assert_array_equal(curve.get_ydata(), [20, 21])


def test_the_truth_itself_is_perfect(pan, capsys):
    out = pan / "same.json"
    hr = str(pan / "hr")
    main(["--hr", hr, "--sr", hr, "--frames", "2", "--json", str(out)])
    mean = document_of(out)["mean"]["SR"]
    assert mean["psnr_y"] is None  # infinite
    assert mean["ssim_y"] == pytest.approx(1)
    assert mean["lpips"] == pytest.approx(0, abs=1e-6)
    assert mean["tlp"] == mean["tof"]
    # The flow of equal pictures is the same but for the order of float32 sums.
    assert mean["tof"] == pytest.approx(0, abs=1e-3)
    # rounding to 8 bits alone costs 59 dB
    assert mean["lr_psnr"] > 58
    text = capsys.readouterr().out
    assert "SR - bicubic" in text
    assert "4 pixels cropped" in text


def test_without_ground_truth_a_model_is_run_and_only_what_can_be_said_is(pan):
    out = pan / "real.json"
    arguments = ["--lr", str(pan / "lr"), "--frames", "2", "--json", str(out)]
    main([*arguments, "--steps", "1", "--no-tpm"])
    means = document_of(out)["mean"]
    assert list(means) == ["bicubic", "nano, 1 steps, no TPM"]
    for numbers in means.values():
        assert set(numbers) == {
            "niqe",
            "warping",
            "lr_psnr",
            "colour",
            "phase",
            "phase_flat",
        }
    nano_row = means["nano, 1 steps, no TPM"]
    assert nano_row["lr_psnr"] > means["bicubic"]["lr_psnr"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --hr"),
        (["--hr", "a", "--lr", "b"], "expected --hr"),
        (["--hr", "a", "b", "--sr", "c"], "1 clips and --hr 2"),
        (["--hr", "x/a", "y/a"], "names must differ"),
        (["--lr", "a", "--drift"], "use it with --hr"),
        (["--hr", "a", "--frames", "-1"], "expected 0"),
        (["--hr", "a", "--steps", "0"], "expected at least 1"),
        (["--hr", "a", "--lpips-net", "alex"], "not shipped"),
        (["--hr", "a", "--plot", "curves.svg"], "written as .png"),
        (["--hr", "a", "--json", "nowhere_at_all/r.json"], "does not exist"),
        (["--hr", "a", "--degrade", "h264"], "'h264' is not known"),
        (["--hr", "a", "--degrade", "h265:28"], "'h265:28' is not known"),
        # x264 itself takes more for 10 bits, which these clips have not.
        (["--hr", "a", "--degrade", "h264:52"], "expected 0 to 51"),
        (["--hr", "a", "--degrade", "noise:5+blur:2"], "blur comes first"),
        (["--hr", "a", "--degrade", "clean", "clean"], "conditions repeat"),
        (["--lr", "a", "--degrade", "clean"], "use it with --hr"),
        (["--hr", "a", "--metrics", "lpisp"], "expected some of psnr_y"),
        (["--hr", "a", "--crop", "9by9"], "expected WIDTHxHEIGHT"),
        (["--hr", "nowhere_at_all"], "nowhere_at_all: no such"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        main(arguments)


def test_an_sr_of_another_length_or_size_is_refused(pan, tmp_path):
    hr = str(pan / "hr")
    frames = read_clip(pan / "soft", 2)
    short = save(tmp_path / "short", frames)
    with pytest.raises(ValueError, match=r"2 frames, but .* has 4"):
        main(["--hr", hr, "--sr", str(short)])
    small = str(pan / "lr")
    with pytest.raises(ValueError, match="SR of 48x24, expected 192x96"):
        main(["--hr", hr, "--sr", small])


def test_lr_of_a_clip_is_the_standard_bicubic(pan):
    """PIL's bicubic on 8 bit; both round, so a level may differ."""
    clip = read_clip(pan / "hr")
    hr = clip[:1, :96, :192]
    picture = Image.fromarray(hr[0])
    standard = picture.resize((48, 24), Image.Resampling.BICUBIC)
    (lr,) = make_lr(hr, 4)
    difference = lr.astype(int) - np.asarray(standard)
    assert np.abs(difference).max() <= 1


@given(st.integers(17, 60), st.integers(1, 200))
@settings(max_examples=30)
def test_the_old_frames_have_the_content_and_direction_of_the_young(num_frames, length):
    order = ping_pong(num_frames, length)
    difference = np.abs(np.diff(order))
    assert difference.max(initial=0) <= 1
    assert order.max() < num_frames
    old = old_frames(num_frames)
    numbers = ping_pong(num_frames, old.stop)
    young_with_history = numbers[YOUNG.start - 1 : YOUNG.stop]
    old_with_history = numbers[old.start - 1 : old.stop]
    np.testing.assert_array_equal(young_with_history, old_with_history)
    # the age that the report promises
    assert old.start - YOUNG.start >= OLD_AGE


def test_ablations_change_what_they_name():
    config = nano()
    variants = {name: variant(config, **change) for name, change in ABLATIONS.items()}
    assert variants["2 steps"].diffusion.num_steps == 2
    assert not variants["no guidance"].use_guidance
    assert not variants["no TPM"].use_tpm
    # none is the model itself, and no two are the same
    configs = {config, *variants.values()}
    assert len(configs) == len(ABLATIONS) + 1
    assert variant(config) == config


def test_models_of_the_same_file_name_keep_their_own_row(tmp_path, tiny_model):
    paths = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "weights.safetensors"
        shutil.copy(tiny_model, path)
        paths.append(str(path))
    for guidance, suffix in ((True, ""), (False, ", no guidance")):
        names = load_models(
            tuple(paths), num_steps=None, guidance=guidance, tpm=True, ablate=False
        )
        # the second one's name is its path, because "weights" is given away
        expected = ["weights" + suffix, paths[1] + suffix]
        assert list(names) == expected


def test_the_window_goes_where_detail_was_lost():
    frame = np.zeros((80, 120, 3), np.uint8)
    # The only detail of the picture, as large as the window.
    frame[40:64, 72:96] = 255
    window = richest_window(frame, np.zeros_like(frame), side=24)
    assert window == (72, 40, 24, 24)


def test_levels_survive_the_way_to_float_and_back():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    levels = grey.repeat(3, -1)
    copy = to_uint8(to_float(levels))
    np.testing.assert_array_equal(copy, levels)
    flat = np.full((1, 16, 16, 3), 77, np.uint8)
    np.testing.assert_array_equal(bicubic(flat, 4), 77)
