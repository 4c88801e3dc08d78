"""Facts that `infer plan` reads from pictures: real clips, real encoders."""

import itertools

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

from infer.sources.inspection import (
    NUM_BANDS,
    band_powers,
    detail_of,
    inspect_source,
)
from infer.sources.probe import probe
from tests.infer.clips import ROOT, make_video

NATIVE = str(ROOT / "examples" / "nasa_320x180.mp4")
# Above the size below which there is no verdict.
SIZE = (192, 128)


def pan(count, step, photo=None):
    """Frames of a photograph that moves by `step` pixels a frame, uint8 [h, w, 3]."""
    photo = data.astronaut() if photo is None else photo
    width, height = SIZE
    rows = photo[60 : 60 + height]
    starts = range(40, 40 + count * step, step)
    return [rows[:, start : start + width] for start in starts]


def save(path, frames, crf="18"):
    height, width = frames[0].shape[:2]
    return make_video(
        str(path),
        pts=range(len(frames)),
        size=(width, height),
        frames=[np.ascontiguousarray(frame) for frame in frames],
        options={"crf": crf, "preset": "medium"},
    )


def inspect(path, num_frames=None):
    info = probe(str(path))
    return inspect_source(info, num_frames)


def inspect_frames(path, frames):
    """The inspection of these frames in a file."""
    return inspect(save(path, frames))


@pytest.mark.parametrize("interpolation", ["BILINEAR", "BICUBIC", "LANCZOS"])
def test_a_clip_enlarged_to_double_is_found_and_its_size_told(tmp_path, interpolation):
    method = Image.Resampling[interpolation]
    large = []
    with av.open(NATIVE) as container:
        for frame in itertools.islice(container.decode(video=0), 12):
            picture = frame.to_image().resize((640, 360), method)
            large.append(np.asarray(picture))
    inspection = inspect_frames(tmp_path / "large.mp4", large)
    assert inspection.is_blown_up
    detail = max(inspection.detail)
    # half the samples: bands are 3 % wide, and filters roll off before the half cycle
    assert detail == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("quality", ["18", "34"])
def test_a_native_clip_is_not_taken_for_an_enlarged_one(tmp_path, quality):
    assert not inspect(NATIVE, 60).is_blown_up
    path = save(tmp_path / "pan.mp4", pan(6, 3), quality)
    assert not inspect(path).is_blown_up


def test_small_and_flat_pictures_have_no_verdict(tmp_path):
    corner = data.astronaut()[:64, :64]
    small = inspect_frames(tmp_path / "small.mp4", [corner, corner])
    assert small.detail is None
    grey = np.full((128, 128, 3), 90, np.uint8)
    flat = inspect_frames(tmp_path / "flat.mp4", [grey, grey])
    assert flat.detail is None
    assert not flat.is_blown_up


def test_the_power_of_a_wave_is_in_its_band():
    # 40 cycles in 256 samples: frequency 0.15625, the edge of bands 9 and 10 of 32
    frequency = 40.5 / 256
    wave = 50 * np.sin(2 * np.pi * frequency * np.arange(256))
    powers = band_powers(np.tile(wave, (4, 1)))
    band = int(frequency * 2 * NUM_BANDS)
    assert np.argmax(powers) == band
    # ten bands away hardly anything of it leaks through the window
    far = powers[20:]
    assert far.max() < 1e-3 * powers.max()


def test_the_spectrum_of_a_native_picture_needs_all_samples():
    frequency = (np.arange(NUM_BANDS) + 0.5) / (2 * NUM_BANDS)
    natural = 1 / frequency**2
    assert detail_of(natural) == 1.0
    # 30 dB less above a quarter of a cycle: enlarged to double
    enlarged = np.where(frequency < 0.25, natural, natural / 1000)
    # a band and a half: the edge lies between two of them
    band = 1 / NUM_BANDS
    assert detail_of(enlarged) == pytest.approx(0.5, abs=1.5 * band)


def weave(fields):
    """Every two pictures as one frame: even rows of the first, odd of the second."""
    frames = []
    for top, bottom in zip(fields[::2], fields[1::2]):
        frame = np.array(top)
        frame[1::2] = bottom[1::2]
        frames.append(frame)
    return frames


def telecine(pictures):
    """24 pictures a second as 30 frames: two and three fields in turn."""
    fields = []
    for number, picture in enumerate(pictures):
        num_fields = 2 + number % 2
        fields += [picture] * num_fields
    return weave(fields)


def test_woven_fields_are_found_without_a_flag(tmp_path):
    frames = weave(pan(24, 4))
    path = save(tmp_path / "woven.mp4", frames)
    assert not probe(path).interlaced
    assert inspect(path).scan == "interlaced"


def test_telecined_film_is_told_from_interlaced_video(tmp_path):
    frames = telecine(pan(24, 6))
    inspection = inspect_frames(tmp_path / "film.mp4", frames)
    assert inspection.scan == "telecined"


def test_a_progressive_pan_is_progressive(tmp_path):
    inspection = inspect_frames(tmp_path / "pan.mp4", pan(20, 4))
    assert inspection.scan == "progressive"


def test_every_cut_is_counted_once_and_a_pan_is_none(tmp_path):
    portrait = pan(8, 6)
    coffee = pan(6, 6, data.coffee())
    cat = pan(7, 6, data.chelsea())
    inspection = inspect_frames(tmp_path / "cuts.mp4", portrait + coffee + cat)
    assert inspection.num_frames == 21
    assert inspection.cuts == (8, 14)


def test_a_folder_of_images_is_inspected_also_where_its_size_changes(tmp_path):
    for number, frame in enumerate(pan(3, 2)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    Image.fromarray(data.chelsea()).save(tmp_path / "3.png")
    assert inspect(tmp_path).num_frames == 4
    assert inspect(tmp_path, 2).num_frames == 2
