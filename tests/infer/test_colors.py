"""Colour conversion is accurate both ways, chroma stays in place, and the right matrix
is used.
"""

from fractions import Fraction

import av
import numpy as np
import pytest

from infer.colours import FromRGB, ToRGB

TICK = Fraction(1, 25)


def smooth(height: int = 96, width: int = 128) -> np.ndarray:
    """A colourful image without detail that chroma subsampling must lose."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    channels = [
        0.5 + 0.4 * np.sin(2 * x + 1),
        0.5 + 0.4 * np.cos(y + x),
        0.5 + 0.4 * np.sin(2 * y),
    ]
    return np.stack(channels, -1)


def round_trip(
    rgb: np.ndarray, pixel_format: str, matrix: int, full: bool
) -> np.ndarray:
    height, width = rgb.shape[:2]
    deep = rgb.dtype == np.uint16
    encoder = FromRGB(width, height, deep, pixel_format, matrix, full)
    decoder = ToRGB(width, height, deep, matrix)
    frame = encoder.convert(rgb, 0, TICK)
    return next(decoder.convert(frame))


def distance(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Levels by which the values of two images differ."""
    return np.abs(image.astype(int) - reference)


@pytest.mark.parametrize("full", [False, True])
# BT.709, BT.601 for 625 and 525 lines, BT.2020: numbers of H.273.
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_8_bit_round_trip_is_within_rounding(pixel_format, matrix, full):
    rgb = np.round(smooth() * 255).astype(np.uint8)
    copy = round_trip(rgb, pixel_format, matrix, full)
    error = distance(copy, rgb)
    # swscale rounds full-range chroma half a code down on encoding; limited range has
    # no such bias
    largest_mean = 0.9 if full else 0.5
    assert error.mean() < largest_mean
    # at the borders half-sited chroma has one neighbour only
    inner = error[2:-2, 2:-2]
    # roundings of luma and chroma add up, and blue has about twice that of its chroma
    assert inner.max() <= 3


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv444p10le", "yuv444p16le"])
def test_deep_round_trip_keeps_more_than_8_bits(pixel_format):
    rgb = np.round(smooth() * 65535).astype(np.uint16)
    copy = round_trip(rgb, pixel_format, 9, False)
    # in 8-bit codes: 65535 = 257 * 255
    error = distance(copy, rgb) / 257
    # below the half code that 8 bits alone would cost
    assert error.mean() < 0.3
    levels = np.unique(copy[..., 0])
    assert len(levels) > 256


def test_untagged_video_is_decoded_with_the_matrix_it_was_coded_with():
    rgb = np.round(smooth() * 255).astype(np.uint8)
    encoder = FromRGB(128, 96, False, "yuv444p", 1, False)
    frame = encoder.convert(rgb, 0, TICK)
    # 2 is "unspecified" in the tables of H.273
    frame.colorspace = 2
    bt709 = ToRGB(128, 96, False, 1)
    bt601 = ToRGB(128, 96, False, 6)
    right = next(bt709.convert(frame))
    wrong = next(bt601.convert(frame))
    # as far as any round trip, and clearly further
    assert distance(right, rgb).max() <= 3
    assert distance(wrong, rgb).max() > 8


def test_chroma_is_written_left_sited():
    """A horizontal chroma ramp: left-sited samples lie half a pixel left of the middle
    of their pixel pair.
    """
    ramp = np.zeros((16, 64, 3), np.uint8)
    blue = np.arange(64) * 3
    ramp[..., 2] = blue
    encoder = FromRGB(64, 16, False, "yuv420p", 6, True)
    frame = encoder.convert(ramp, 0, TICK)
    plane = np.frombuffer(bytes(frame.planes[1]), np.uint8)
    # a row in the middle, without the samples at its borders
    row = plane.reshape(8, -1)[4]
    chroma = row[4:28].astype(float)
    # Cb of pure blue is half of it above the middle of its range
    blue_difference = 128 + 0.5 * blue
    left = blue_difference[8:56:2]
    # half a pixel to the right: half a step of 1.5 codes
    centre = left + 0.75
    distance_left = np.abs(chroma - left).mean()
    distance_centre = np.abs(chroma - centre).mean()
    assert distance_left < distance_centre


def test_a_change_of_size_in_mid_stream_is_scaled_to_the_first_and_counted():
    converter = ToRGB(32, 16, False, 6)
    for number, factor in enumerate((1, 2, 1)):
        grey = np.full((16 * factor, 32 * factor, 3), 90, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey)
        frame.pts = number
        (rgb,) = converter.convert(frame)
        assert rgb.shape == (16, 32, 3)
        # scaling rounds once more
        error = distance(rgb, np.array(90))
        assert error.max() <= 1
    assert converter.num_resized == 1
