"""From files to records: pictures, shots, and the split of files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.train.conftest import moving_texture
from train.datasets.media import (
    MAX_PHOTO_SIDE,
    decode_frame,
    encode_frame,
    read_photo,
    shrink_frame,
)
from train.datasets.records import frame_folder_shots, split_files, split_shots


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    return moving_texture(1, height, width)[0]


def test_a_lossless_frame_comes_back_bit_for_bit() -> None:
    data = encode_frame(picture(), lossless=True)
    np.testing.assert_array_equal(decode_frame(data), picture())


def test_a_lossy_frame_comes_back_nearly() -> None:
    back = decode_frame(encode_frame(picture())).astype(float)
    error = np.mean((back - picture()) ** 2)
    psnr = 10 * np.log10(255**2 / error)
    # quality 98 without chroma subsampling keeps 48 dB of photographs
    assert psnr > 40


def test_a_photograph_keeps_its_bytes_where_they_can_be_kept(tmp_path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture()).save(path, quality=80)
    assert read_photo(path) == path.read_bytes()


def test_a_photograph_on_its_side_is_turned(tmp_path) -> None:
    image = Image.fromarray(picture(48, 64))
    exif = image.getexif()
    # EXIF: turn by 90 degrees to see it
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    image.save(path, exif=exif)
    assert decode_frame(read_photo(path)).shape == (64, 48, 3)


def test_a_large_photograph_is_reduced(tmp_path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (2 * MAX_PHOTO_SIDE, 40)).save(path)
    photo = decode_frame(read_photo(path))
    assert photo.shape == (20, MAX_PHOTO_SIDE, 3)


@pytest.mark.parametrize(
    ("factor", "trim", "size"),
    [
        (1, 0.0, (48, 64)),
        (2, 0.0, (24, 32)),
        (1, 0.25, (24, 32)),
        (1000, 0.0, (1, 1)),
    ],
)
def test_a_frame_is_trimmed_and_reduced(factor, trim, size) -> None:
    assert shrink_frame(picture(), factor, trim).shape == (*size, 3)


def shots_of(scenes: list[int], max_frames: int = 100) -> list[int]:
    """Lengths of the shots of flat scenes, 100 levels apart, of these lengths."""
    frames = []
    for number, length in enumerate(scenes):
        level = 100 * (number % 2)
        frames += [np.full((16, 16, 3), level, np.uint8)] * length
    shots = split_shots("clip", frames, encode_frame, max_frames)
    return [len(shot.frames) for shot in shots]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_a_shot_is_a_scene_of_more_than_one_frame(scenes):
    assert shots_of(scenes) == [length for length in scenes if length > 1]


def test_a_long_scene_is_divided() -> None:
    assert shots_of([7], max_frames=3) == [3, 3]
    assert shots_of([8], max_frames=3) == [3, 3, 2]


def test_a_shot_is_named_after_its_first_frame() -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    bright = np.full((16, 16, 3), 200, np.uint8)
    frames = [black, black, bright, bright]
    shots = list(split_shots("clip", frames, encode_frame, 10))
    assert [shot.name for shot in shots] == ["clip:000000", "clip:000002"]


@given(st.integers(0, 40), st.floats(0, 0.5))
def test_every_file_is_in_one_split(count, validation):
    items = list(range(count))
    splits = split_files(items, validation)
    together = [item for split in splits.values() for item in split]
    assert sorted(together) == items
    if validation and count >= 2:
        assert splits["train"]
        assert splits["validation"]


def test_frame_files_become_shots_with_their_bytes(tmp_path) -> None:
    files = []
    for number in range(5):
        file = tmp_path / f"{number}.png"
        file.write_bytes(bytes([number]))
        files.append(file)
    shots = list(frame_folder_shots("clip", files, 2))
    # the fifth is alone, and a window needs a neighbour
    assert [shot.frames for shot in shots] == [[b"\0", b"\1"], [b"\2", b"\3"]]
