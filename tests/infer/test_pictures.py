"""Orientation, alpha, tiles, crop and fields are facts: applied or told."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from infer.errors import JobError
from infer.sources.fields import look_at_fields, with_fields
from infer.sources.files import FileSource, read_frames
from infer.sources.images import encode_png, list_images
from infer.sources.matroska import crop_of
from infer.sources.probe import for_pictures, probe
from infer.sources.quicktime import crop_of as clean_aperture

DATA = Path(__file__).parents[1] / "data" / "field"
EXIF_ORIENTATION = 0x0112


def distance(rgb: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Levels by which the values of two pictures differ."""
    return np.abs(rgb.astype(int) - expected)


def corners() -> np.ndarray:
    """A picture [24, 32, 3] whose four quarters differ."""
    picture = np.empty((24, 32, 3), np.uint8)
    picture[:12, :16] = (200, 40, 40)
    picture[:12, 16:] = (40, 200, 40)
    picture[12:, :16] = (40, 40, 200)
    picture[12:, 16:] = (200, 200, 200)
    return picture


def photograph(path: Path, orientation: int) -> np.ndarray:
    """Writes a JPEG with that tag; returns it as viewers show it."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    picture = Image.fromarray(corners())
    # 4:4:4, so that a turned picture has the chroma of the upright one.
    picture.save(path, exif=exif, quality=95, subsampling=0)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    expected = photograph(tmp_path / "a.jpg", orientation)
    (frame,) = read_frames(probe(str(tmp_path)))
    assert frame.rgb.shape == expected.shape
    # Pillow and FFmpeg decode the same JPEG a few levels apart.
    assert distance(frame.rgb, expected).max() <= 8
    # 1 is upright: nothing is left to turn
    assert frame.orientation == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_that_is_written_is_shown(orientation: int) -> None:
    data = encode_png(corners(), orientation)
    with Image.open(io.BytesIO(data)) as image:
        tags = image.getexif()
        assert tags.get(EXIF_ORIENTATION, 1) == orientation
        np.testing.assert_array_equal(np.asarray(image), corners())


def test_photographs_upright_and_across_keep_their_size_as_pictures() -> None:
    info = for_pictures(probe(str(DATA / "exif_mixed")))
    frames = list(read_frames(info))
    orientations = [frame.orientation for frame in frames]
    assert orientations == [1, 6, 3]
    shapes = {frame.rgb.shape for frame in frames}
    assert shapes == {(48, 64, 3)}


def test_photographs_of_one_orientation_are_turned(tmp_path: Path) -> None:
    for number in range(2):
        photograph(tmp_path / f"{number}.jpg", 6)
    info = for_pictures(probe(str(tmp_path)))
    assert info.width == 24
    assert info.height == 32
    assert info.is_upright


@pytest.mark.parametrize("suffix", [".tga", ".ppm", ".jp2", ".avif", ".bmp", ".tiff"])
def test_folders_of_many_formats_are_read(tmp_path: Path, suffix: str) -> None:
    picture = Image.fromarray(corners())
    picture.save(tmp_path / f"a{suffix}")
    assert len(list_images(str(tmp_path))) == 1
    info = probe(str(tmp_path))
    (frame,) = read_frames(info)
    # Lossy formats at their default quality.
    assert distance(frame.rgb, corners()).mean() < 10


def test_an_animated_webp_plays() -> None:
    info = probe(str(DATA / "animated.webp"))
    frames = list(read_frames(info))
    assert len(frames) == info.num_frames == 4
    # and no picture is shown twice
    pictures = {frame.rgb.tobytes() for frame in frames}
    assert len(pictures) == 4
    times = [frame.pts * info.time_base for frame in frames]
    assert times == sorted(set(times))


def test_alpha_is_told_where_it_is_seen(tmp_path: Path) -> None:
    orange = (200, 100, 50)
    clear = Image.new("RGBA", (16, 16), (*orange, 0))
    solid = Image.new("RGB", (16, 16), orange)
    clear.save(tmp_path / "clear.png")
    opaque = solid.quantize(4)
    opaque.save(tmp_path / "opaque.png")
    opaque.save(tmp_path / "palette.png", transparency=0)
    expected = {"clear": True, "opaque": False, "palette": True}
    for name, has_alpha in expected.items():
        info = probe(str(tmp_path / f"{name}.png"))
        assert info.layout.has_alpha == has_alpha, name
    # four channels, none of which is alpha
    cmyk = probe(str(DATA / "cmyk.jpg"))
    assert not cmyk.layout.has_alpha
    webm = probe(str(DATA / "vp9_alpha.webm"))
    assert webm.layout.has_alpha
    assert "alpha_mode" not in webm.stream_metadata


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_beside_the_pictures_is_read(tmp_path: Path, codec: str) -> None:
    """A tag says that it is there, as FFmpeg's command line writes it."""
    # the left half is clear
    rgba = np.full((48, 64, 4), 255, np.uint8)
    rgba[:, :32, 3] = 0
    path = tmp_path / "in.webm"
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=25, options={"auto-alt-ref": "0"})
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuva420p"
        video.metadata["alpha_mode"] = "1"
        picture = av.VideoFrame.from_ndarray(rgba, format="rgba")
        frame = picture.reformat(format="yuva420p")
        output.mux(video.encode(frame))
        output.mux(video.encode(None))
    info = probe(str(path))
    assert info.layout.has_alpha
    tags = {key.lower() for key in info.stream_metadata}
    assert "alpha_mode" not in tags
    (frame,) = FileSource(info, with_alpha=True).frames()
    assert frame.alpha is not None
    # a lossy codec blurs the edge at 32, not what is a block away
    left = frame.alpha[:, :24]
    right = frame.alpha[:, 40:]
    assert (left == 0).all()
    assert (right == 255).all()


@pytest.mark.parametrize("name", ["data_track.mp4", "data_track_and_chapters.mp4"])
def test_data_tracks_are_told_beside_chapters(name: str) -> None:
    info = probe(str(DATA / name))
    assert info.left_out == ("data stream 2 (bin_data)",)


def test_tiles_of_a_grid_are_refused() -> None:
    with pytest.raises(Exception, match="stored as 4 tiles"):
        probe(str(DATA / "grid_2x2.avif"))


def element(number: str, content: bytes) -> bytes:
    """An element of Matroska, its size as four bytes."""
    # the bit above the 28 of the size says that it has four bytes
    size = len(content) | 1 << 28
    head = bytes.fromhex(number) + size.to_bytes(4, "big")
    return head + content


def matroska(*fields: bytes) -> bytes:
    """A head, and one track with these fields of its video."""
    video = element("e0", b"".join(fields))
    track = element("ae", video)
    tracks = element("1654ae6b", track)
    segment = element("18538067", tracks)
    head = element("1a45dfa3", b"\x42\x86\x81\x01")
    return head + segment


def crop_in(path: Path, content: bytes) -> dict[str, int]:
    """The crop of a Matroska file of that content."""
    path.write_bytes(content)
    return crop_of(str(path))


def test_a_crop_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    bottom = element("54aa", b"\x08")
    left = element("54cc", b"\x01\x00")
    content = matroska(bottom, left)
    assert crop_in(path, content) == {"bottom": 8, "left": 256}
    # the width of the picture alone
    width = element("b0", b"\x40")
    assert crop_in(path, matroska(width)) == {}


def test_a_cut_head_has_no_crop(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    bottom = element("54aa", b"\x08")
    content = matroska(bottom)
    for length in range(len(content)):
        assert crop_in(path, content[:length]) == {}


def box(name: str, content: bytes) -> bytes:
    """A box of MP4."""
    size = 8 + len(content)
    return size.to_bytes(4, "big") + name.encode() + content


def quicktime(*fractions: int) -> bytes:
    """A track of 64x48 pictures with this clean aperture, or none.

    fractions: numerators and denominators of width, height, and the distances of its
    middle from that of the picture, to the right and down.
    """
    size = struct.pack(">HH", 64, 48)
    aperture = b""
    if fractions:
        aperture = box("clap", struct.pack(">8i", *fractions))
    # 24 bytes of a sample entry before the size of the picture, and 50 behind it
    entry = bytes(24) + size + bytes(50) + aperture
    description = box("avc1", entry)
    content = box("stsd", bytes(8) + description)
    for name in ("stbl", "minf", "mdia", "trak", "moov"):
        # a box that must be passed over on every floor
        free = box("free", b"")
        content = box(name, free + content)
    return box("ftyp", b"isom") + content


def aperture_in(path: Path, content: bytes) -> dict[str, int]:
    """The crop of an MP4 file of that content."""
    path.write_bytes(content)
    return clean_aperture(str(path))


def test_a_clean_aperture_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    # 56x40, two to the right of the middle and one above it
    content = quicktime(112, 2, 40, 1, 2, 1, -1, 1)
    crop = {"left": 6, "top": 3, "right": 2, "bottom": 5}
    assert aperture_in(path, content) == crop
    complete = quicktime(64, 1, 48, 1, 0, 1, 0, 1)
    assert aperture_in(path, complete) == {}
    without = quicktime()
    assert aperture_in(path, without) == {}


def test_a_damaged_box_has_no_clean_aperture(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    # a width of 56/0
    endless = quicktime(56, 0, 40, 1, 0, 1, 0, 1)
    assert aperture_in(path, endless) == {}
    content = quicktime(56, 1, 40, 1, 0, 1, 0, 1)
    for length in range(len(content)):
        assert aperture_in(path, content[:length]) == {}


def moving_bar(path: Path, is_woven: bool) -> str:
    """A film of a bar that moves; woven lines are of two moments."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("ffv1", rate=25)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        for number in range(10):
            picture = np.full((48, 64, 3), 60, np.uint8)
            left = 5 * number
            picture[:, left : left + 8] = 220
            if is_woven:
                # half a frame later the bar is about half its step further
                odd_lines = picture[1::2]
                odd_lines[:] = 60
                odd_lines[:, left + 4 : left + 12] = 220
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return str(path)


def test_woven_fields_are_seen_by_their_content(tmp_path: Path) -> None:
    woven = probe(moving_bar(tmp_path / "woven.mkv", True))
    plain = probe(moving_bar(tmp_path / "plain.mkv", False))
    assert look_at_fields(woven).is_woven
    assert not look_at_fields(plain).is_woven
    info, (note,) = with_fields(woven)
    assert info.is_woven
    assert "all are deinterlaced" in note
    info, (note,) = with_fields(plain)
    assert not info.is_woven
    assert "do not look woven" in note


def test_a_damaged_animation_is_told_by_its_name(tmp_path: Path) -> None:
    data = (DATA / "animated.webp").read_bytes()
    path = tmp_path / "cut.webp"
    # A few cuts in each of its pictures, and none in its head, without which it would
    # be no animation.
    for length in range(100, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(JobError, match=r"cut\.webp"):
            list(read_frames(probe(str(path))))
