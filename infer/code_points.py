"""Numbers that stand for colours in files: ITU-T H.273, as FFmpeg has them."""

UNSPECIFIED = 2
"""'Not said', of primaries, transfer and matrix."""

RGB_MATRIX = 0
BT709 = 1
BT601 = 6
BT2020 = 9
"""Of a matrix."""

LIMITED = 1
FULL = 2
"""Ranges of samples; 0 is not said."""
