"""Animated WebP by its header: found, measured, and refused where it is damaged."""

from pathlib import Path

import pytest
from PIL import Image

from infer.errors import JobError
from infer.sources.animation import is_animation, probe_animation, size_by_header
from infer.sources.info import Limits

DATA = Path(__file__).parents[1] / "data" / "field"
ANIMATION = DATA / "animated.webp"
HEAD = 21
"""Bytes up to the flags of the first chunk, which say that it plays."""


def test_only_a_header_with_the_flag_is_an_animation(tmp_path: Path) -> None:
    assert is_animation(str(ANIMATION))
    content = ANIMATION.read_bytes()
    path = tmp_path / "a.webp"
    for length in range(HEAD):
        path.write_bytes(content[:length])
        assert not is_animation(str(path)), length
    still = bytearray(content)
    # every flag but that of an animation
    still[HEAD - 1] = 0b11111101
    path.write_bytes(still)
    assert not is_animation(str(path))


@pytest.mark.parametrize("name", ["plain.webp", "a.png"])
def test_a_single_picture_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.new("RGB", (16, 16), "red").save(path)
    assert not is_animation(str(path))


def test_a_size_is_read_whatever_it_is_and_the_limit_of_pillow_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (300, 200)).save(path)
    # Pillow refuses pictures of twice this many pixels.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert size_by_header(str(path)) == (300, 200)
    assert Image.MAX_IMAGE_PIXELS == 1000
    path.write_bytes(b"no picture")
    assert size_by_header(str(path)) == (0, 0)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_an_animation_has_the_facts_of_a_film() -> None:
    with Image.open(ANIMATION) as image:
        size = image.size
    info = probe_animation(str(ANIMATION), Limits())
    assert (info.width, info.height) == size
    assert info.num_frames == 4
    assert info.rate > 0


def test_an_animation_beyond_the_limit_or_damaged_is_told(tmp_path: Path) -> None:
    info = probe_animation(str(ANIMATION), Limits())
    num_pixels = info.width * info.height
    with pytest.raises(ValueError, match="expected at most"):
        probe_animation(str(ANIMATION), Limits(max_pixels=num_pixels - 1))
    content = ANIMATION.read_bytes()
    path = tmp_path / "cut.webp"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(JobError, match=r"cut\.webp"):
        probe_animation(str(path), Limits())
