"""Frames by number, and pictures that tell the truth about them."""

import io
import itertools
import os
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from infer.sources.files import read_frames
from infer.sources.probe import probe
from infer.ui import pictures
from infer.ui.archive import zip_of
from infer.ui.clips import Library, Reader, describe_file, orientation
from infer.ui.refusal import Refusal
from infer.ui.server import file_state
from sdvsr_jax.metrics.fidelity import ssim_y
from tests.infer.clips import make_video
from tests.ui.conftest import CLIP

VARIABLE = (0, 1, 2, 5, 6, 11, 12, 13, 20, 21, 22, 40)
"""Ticks of 1/25 s: a clip whose rate varies."""


def real_frames(path: str) -> list[np.ndarray]:
    """All frames as the command reads them."""
    return [frame.rgb for frame in read_frames(probe(path))]


def test_frames_by_number_are_those_that_the_command_reads() -> None:
    frames = real_frames(str(CLIP))
    reader = Reader(str(CLIP))
    assert reader.num_frames == len(frames)
    # forwards, backwards, far apart, the last
    for number in (0, 1, 2, 30, 3, 49, 48, 0):
        np.testing.assert_array_equal(reader.rgb(number), frames[number])
    with pytest.raises(Refusal, match="the last one is 49"):
        reader.rgb(50)


def test_frames_of_a_variable_rate_keep_number_and_time(tmp_path: Path) -> None:
    options = {"g": "4", "bf": "2"}
    path = make_video(str(tmp_path / "vfr.mkv"), VARIABLE, options=options)
    frames = real_frames(path)
    reader = Reader(path)
    expected = [tick / 25 for tick in VARIABLE]
    # Matroska rounds times to milliseconds
    np.testing.assert_allclose(reader.seconds, expected, atol=1e-3)
    for number in (11, 5, 6, 0, 9):
        np.testing.assert_array_equal(reader.rgb(number), frames[number])


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    library = Library()
    path = make_video(str(tmp_path / "a.mkv"), range(3), codec="ffv1")
    before = library.rgb(path, file_state(path), 0)
    other = [np.zeros((24, 32, 3), np.uint8)] * 4
    make_video(path, range(4), codec="ffv1", frames=other)
    after = library.rgb(path, file_state(path), 0)
    change = np.abs(after.astype(int) - before)
    # black instead of a picture
    assert change.max() > 50


def test_the_picture_of_a_frame_is_lossless() -> None:
    rgb = Reader(str(CLIP)).rgb(7)
    # 3: low bytes that differ from the high ones
    deep = rgb.astype(np.uint16) * 257 + 3
    for frame, kind in ((rgb, "rgb24"), (deep, "rgb48le")):
        data = pictures.png(frame)
        with av.open(_file(data), "r") as container:
            picture = next(container.decode(video=0))
        np.testing.assert_array_equal(picture.to_ndarray(format=kind), frame)


def test_deep_frames_are_enlarged_as_shallow_ones() -> None:
    rgb = Reader(str(CLIP)).rgb(0)
    height, width, _ = rgb.shape
    size = (width * 4, height * 4)
    shallow = pictures.bicubic(rgb, size)
    deep = pictures.bicubic(rgb.astype(np.uint16) * 257, size)
    deep_at_8_bits = pictures.to_8_bit(deep).astype(int)
    difference = np.abs(deep_at_8_bits - shallow)
    # For uint8 Pillow rounds and clips between its two passes: a code for each
    # rounding, and more where the first pass overshoots beside black or white.
    assert np.mean(difference > 2) < 0.01
    assert difference.mean() < 0.3


def test_orientation_of_all_eight_display_matrices() -> None:
    one = 1 << 16
    turns = {
        (one, 0, 0, one): (0, False),
        (0, one, -one, 0): (90, False),
        (-one, 0, 0, -one): (180, False),
        (0, -one, one, 0): (270, False),
        (-one, 0, 0, one): (0, True),
    }
    for (a, b, c, d), expected in turns.items():
        matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
        assert orientation(matrix) == expected
    assert orientation(None) == (0, False)


def test_a_mirrored_and_turned_matrix_means_what_players_do() -> None:
    # FFmpeg's matrix takes (x, y) to (a x + c y, b x + d y): mirrored, then turned
    for rotation, mirrored in itertools.product((0, 90, 180, 270), (False, True)):
        angle = np.radians(rotation)
        cos = round(np.cos(angle))
        sin = round(np.sin(angle))
        rotate = np.array([[cos, -sin], [sin, cos]])
        mirror = np.diag([-1, 1]) if mirrored else np.eye(2, dtype=int)
        both = rotate @ mirror
        # 16 bits behind the point
        (a, c), (b, d) = (both * 2**16).tolist()
        matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
        assert orientation(matrix) == (rotation, mirrored)


def test_facts_of_an_anamorphic_clip(tmp_path: Path) -> None:
    path = make_video(str(tmp_path / "a.mp4"), sar=Fraction(16, 11))
    clip = describe_file(path)
    assert clip.aspect == pytest.approx(16 / 11)
    assert (clip.width, clip.height, clip.hdr) == (32, 24, "")


@pytest.mark.parametrize("kind", ["PQ", "HLG"])
def test_tone_mapping_keeps_order_black_and_white(kind: str) -> None:
    ramp = np.linspace(0, 65535, 512).astype(np.uint16)
    grey = np.repeat(ramp[None, :, None], 3, axis=2)
    (levels,) = pictures.tone_map(grey, kind).astype(int)
    black = levels[0].tolist()
    assert black == [0, 0, 0]
    _, green, _ = levels.T
    assert (np.diff(green) >= 0).all()
    # grey stays grey: the matrix's rows add up to 1 but for its four digits
    assert np.ptp(levels, axis=-1).max() <= 1
    is_hlg = kind == "HLG"
    # HLG's full signal is 1000 cd/m2, and PQ has it at 75 % of the signal
    white = ramp.size - 1 if is_hlg else round(0.752 * ramp.size)
    # of 255, which is a little above
    assert levels[white].min() >= 253
    # diffuse white, 203 cd/m2, keeps 58 % of the light: 0.58^(1/2.4) = 80 %
    signal = 0.75 if is_hlg else 0.58
    diffuse, _, _ = levels[round(signal * ramp.size)]
    # 80 % of 255 are 204
    assert 195 <= diffuse <= 212


def test_a_flicker_view_has_a_row_for_each_frame() -> None:
    frames = [np.full((10, 20, 3), value, np.uint8) for value in (0, 100, 0, 100)]
    _, _, third, _ = frames
    third[:, 10:] = 50
    begin = (0.0, 0.5)
    end = (1.0, 0.5)
    view = pictures.flicker(iter(frames), begin, end)
    assert view.shape == (4, 20, 3)
    assert view[:, 0, 0].tolist() == [0, 100, 0, 100]
    assert view[2, -1].tolist() == [50, 50, 50]


def test_psnr_of_a_constant_difference() -> None:
    one = np.full((8, 8, 3), 100, np.uint8)
    # 20 log10(255 / 10)
    assert pictures.psnr(one, one + 10) == pytest.approx(28.13, abs=0.01)
    assert pictures.psnr(one, one) is None


def test_ssim_is_that_of_the_library() -> None:
    rgb = Reader(str(CLIP)).rgb(0)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 20, rgb.shape)
    other = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    pair = [frame[None].astype(np.float32) / 127.5 - 1 for frame in (rgb, other)]
    (expected,) = ssim_y(*pair, border=0).tolist()
    # away from both ends, where all measures agree
    assert 0.2 < expected < 0.9
    # float32 on either side
    assert pictures.ssim(rgb, other) == pytest.approx(expected, abs=1e-4)
    assert pictures.ssim(rgb, rgb) == pytest.approx(1, abs=1e-6)
    # a window has eleven rows
    low = rgb[:10]
    assert pictures.ssim(low, low) is None


def test_a_thumbnail_is_small(tmp_path: Path) -> None:
    data = pictures.thumbnail(Reader(str(CLIP)).rgb(0))
    with Image.open(_file(data)) as picture:
        assert picture.size == (160, 90)
    # bytes; a list of hundreds of jobs is still quick to load
    assert len(data) < 10000


def test_a_folder_of_frames_is_sent_as_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    contents = {}
    for number in range(5):
        name = f"{number:08d}.png"
        # bytes that no compression makes fewer
        contents[f"frames/{name}"] = os.urandom(1000 * number)
        (folder / name).write_bytes(contents[f"frames/{name}"])
    parts = list(zip_of(folder))
    # one file after the other, not all in memory
    assert len(parts) == 6
    data = b"".join(parts)
    with zipfile.ZipFile(_file(data)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    assert files == contents


def _file(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)
