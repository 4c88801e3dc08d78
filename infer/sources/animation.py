"""Animated WebP, which FFmpeg cannot decode: Pillow does."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image, ImageSequence

from infer.errors import JobError
from infer.sources.info import ColorTags, Limits, PixelLayout, VideoInfo
from infer.sources.opener import check_pixels

# The container's name in `VideoInfo`.
NAME = "animated webp"
# WebP's clock.
TICK = Fraction(1, 1000)
# Milliseconds; browsers show pictures of 0 ms longer than that, too.
SHORTEST = 10
# In the first byte of WebP's VP8X chunk.
ANIMATION_FLAG = 0b10


def is_animation(path: str) -> bool:
    """Returns whether a file is a WebP with an animation, by its header."""
    with open(path, "rb") as file:
        head = file.read(21)
    # RIFF, a size, WEBP, VP8X, a size, and the flags.
    is_webp = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X"
    if not is_webp or len(head) < 21:
        return False
    return bool(head[20] & ANIMATION_FLAG)


def size_by_header(path: str) -> tuple[int, int]:
    """Returns width and height of a picture that need not be decoded; 0, 0 if unknown.

    FFmpeg tells no size of pictures that its decoder refused.
    """
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow refuses big pictures, too, with an error that does not say their size.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError):
        return 0, 0
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def probe_animation(path: str, limits: Limits) -> VideoInfo:
    """Returns the facts of an animated WebP; JobError if it is damaged."""
    with _damage_told(path), Image.open(path) as image:
        width, height = image.size
        check_pixels(path, width, height, limits)
        has_alpha = "A" in image.getbands()
        durations = _durations(image)
    total = sum(durations) * TICK
    return VideoInfo(
        path=path,
        container=NAME,
        stream=0,
        codec="webp",
        width=width,
        height=height,
        layout=PixelLayout("rgb24", 8, "rgb", has_alpha),
        color=ColorTags(matrix=0, range=2),
        time_base=TICK,
        rate=Fraction(len(durations)) / total,
        num_frames=len(durations),
        start=Fraction(0),
        limits=limits,
    )


def decode_animation(info: VideoInfo, with_alpha: bool = False) -> Iterator[VideoFrame]:
    """Returns the pictures, laid over each other as the file asks for."""
    time = 0
    mode, name = ("RGBA", "rgba") if with_alpha else ("RGB", "rgb24")
    with _damage_told(info.path), Image.open(info.path) as image:
        for picture in ImageSequence.Iterator(image):
            pixels = np.asarray(picture.convert(mode))
            duration = _duration(picture)
            frame = av.VideoFrame.from_ndarray(pixels, format=name)
            frame.pts = time
            frame.duration = duration
            yield frame
            time += duration


@contextlib.contextmanager
def _damage_told(path: str) -> Iterator[None]:
    """Makes Pillow's errors of damaged files those of a job, which name the file."""
    try:
        yield
    except (OSError, EOFError, SyntaxError, Image.DecompressionBombError) as error:
        raise JobError(f"{path}: a damaged animation ({error})") from None


def _durations(image: Image.Image) -> list[int]:
    durations = []
    for picture in ImageSequence.Iterator(image):
        # Pillow knows the duration of a picture once it is decoded.
        picture.load()
        durations.append(_duration(picture))
    return durations


def _duration(picture: Image.Image) -> int:
    return max(SHORTEST, int(picture.info.get("duration", 0)))
