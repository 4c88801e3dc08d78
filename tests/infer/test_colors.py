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
    frame = FromRGB(width, height, deep, pixel_format, matrix, full).convert(
        rgb, 0, TICK
    )
    return next(ToRGB(width, height, deep, matrix).convert(frame))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_8_bit_round_trip_is_within_rounding(pixel_format, matrix, full):
    rgb = np.round(smooth() * 255).astype(np.uint8)
    error = np.abs(round_trip(rgb, pixel_format, matrix, full).astype(int) - rgb)
    # swscale rounds full-range chroma half a code down on encoding; limited range has
    # no such bias
    assert error.mean() < (0.9 if full else 0.5)
    assert (
        error[2:-2, 2:-2].max() <= 3
    )  # at the borders half-sited chroma has one neighbour only


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv444p10le", "yuv444p16le"])
def test_deep_round_trip_keeps_more_than_8_bits(pixel_format):
    rgb = np.round(smooth() * 65535).astype(np.uint16)
    error = np.abs(round_trip(rgb, pixel_format, 9, False).astype(int) - rgb) / 257
    assert error.mean() < 0.3  # in 8-bit codes
    assert len(np.unique(round_trip(rgb, pixel_format, 9, False)[..., 0])) > 256


def test_untagged_video_is_decoded_with_the_matrix_it_was_coded_with():
    rgb = np.round(smooth() * 255).astype(np.uint8)
    frame = FromRGB(128, 96, False, "yuv444p", 1, False).convert(rgb, 0, TICK)
    frame.colorspace = 2
    right = next(ToRGB(128, 96, False, 1).convert(frame)).astype(int)
    wrong = next(ToRGB(128, 96, False, 6).convert(frame)).astype(int)
    assert np.abs(right - rgb).max() <= 3
    assert np.abs(wrong - rgb).max() > 8


def test_chroma_is_written_left_sited():
    """A horizontal chroma ramp: left-sited samples lie half a pixel left of the middle
    of their pixel pair.
    """
    ramp = np.zeros((16, 64, 3), np.uint8)
    ramp[..., 2] = np.arange(64) * 3
    frame = FromRGB(64, 16, False, "yuv420p", 6, True).convert(ramp, 0, TICK)
    chroma = (
        np.frombuffer(bytes(frame.planes[1]), np.uint8)
        .reshape(8, -1)[4, 4:28]
        .astype(float)
    )
    blue_difference = 128 + 0.5 * np.arange(64) * 3
    remains = blue_difference[8:56:2]
    centre = blue_difference[8:56:2] + 0.75
    assert np.abs(chroma - remains).mean() < np.abs(chroma - centre).mean()


def test_a_change_of_size_in_mid_stream_is_scaled_to_the_first_and_counted():
    converter = ToRGB(32, 16, False, 6)
    frames = [
        av.VideoFrame.from_ndarray(np.full((16 * k, 32 * k, 3), 90, np.uint8))
        for k in (1, 2, 1)
    ]
    for number, frame in enumerate(frames):
        frame.pts = number
        (rgb,) = converter.convert(frame)
        assert rgb.shape == (16, 32, 3)
        assert np.abs(rgb.astype(int) - 90).max() <= 1
    assert converter.num_resized == 1
