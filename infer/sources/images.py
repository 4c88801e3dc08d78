"""Folders of images: which files, in which order, and writing PNG."""

import os
import re
from fractions import Fraction

import av
import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def list_images(folder: str) -> list[str]:
    """Image files of a folder in counting order (frame2 before frame10); hidden files
    are left out.
    """
    names = [
        n
        for n in os.listdir(folder)
        if n.lower().endswith(SUFFIXES) and not n.startswith(".")
    ]
    return [os.path.join(folder, n) for n in sorted(names, key=_counting_order)]


def _counting_order(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(p)) if p.isdigit() else (1, p) for p in parts]


def encode_png(rgb: np.ndarray) -> bytes:
    """uint8 or uint16 [h, w, 3] -> the bytes of an 8 or 16 bit PNG file."""
    deep = rgb.dtype == np.uint16
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height = rgb.shape[1], rgb.shape[0]
    encoder.pix_fmt = "rgb48be" if deep else "rgb24"
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb48le" if deep else "rgb24")
    if deep:
        frame = frame.reformat(format="rgb48be")
    frame.pts = 0
    return b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
