"""Files to uint8 RGB frames: videos through PyAV (imported only when needed),
photographs through Pillow.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sdvsr_jax import video_names
from train.data.batch import Picture

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
VIDEO_SUFFIXES = set(video_names.VIDEO_SUFFIXES)
MAX_PHOTO_SIDE = 2048


def encode_frame(frame: Picture, lossless: bool = False) -> bytes:
    """uint8[h,w,3] -> PNG, or JPEG of quality 98 without chroma subsampling (about 48
    dB, a third of the bytes).
    """
    buffer = io.BytesIO()
    image = Image.fromarray(frame)
    if lossless:
        image.save(buffer, "PNG", compress_level=3)
    else:
        image.save(buffer, "JPEG", quality=98, subsampling=0)
    return buffer.getvalue()


def decode_frame(data: bytes) -> Picture:
    """Any image bytes Pillow reads -> uint8[h,w,3]."""
    image = Image.open(io.BytesIO(data))
    return np.asarray(image.convert("RGB"))


def read_photo(path: Path) -> bytes:
    """Image bytes of a photograph, upright and at most MAX_PHOTO_SIDE long; the file's
    own bytes where possible.
    """
    data = path.read_bytes()
    image = Image.open(io.BytesIO(data))
    upright = ImageOps.exif_transpose(image)
    fits = max(image.size) <= MAX_PHOTO_SIDE
    is_upright = upright.size == image.size
    if fits and is_upright and image.mode == "RGB":
        # a broken file is to fail here, not when it is trained on
        upright.load()
        return data
    photo = upright.convert("RGB")
    limits = (MAX_PHOTO_SIDE, MAX_PHOTO_SIDE)
    photo.thumbnail(limits, Image.Resampling.LANCZOS)
    return encode_frame(np.asarray(photo))


def shrink_frame(frame: Picture, factor: float, trim: float = 0.0) -> Picture:
    """Cut `trim` of each side away, then reduce by `factor` (antialiased bicubic):
    hides the source's own codec.
    """
    height, width, _ = frame.shape
    top = int(height * trim)
    left = int(width * trim)
    bottom = height - top
    right = width - left
    trimmed = frame[top:bottom, left:right]
    if factor == 1:
        return trimmed
    image = Image.fromarray(trimmed)
    small_width = max(1, round(image.width / factor))
    small_height = max(1, round(image.height / factor))
    small = image.resize((small_width, small_height), Image.Resampling.BICUBIC)
    return np.asarray(small)


def read_video(path: Path) -> Iterator[Picture]:
    """Decoded frames, uint8[h,w,3], upright. Raises av.error.FFmpegError where the file
    breaks.
    """
    import av
    from av.video.reformatter import Interpolation

    # the default chroma filter is nearest: FULL_CHR flags keep colour edges where they
    # are
    full_chroma = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    quality = Interpolation.BICUBIC | full_chroma | Interpolation.ACCURATE_RND
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            array = frame.to_ndarray(format="rgb24", interpolation=quality)
            # telephones write a rotation instead of turning the pixels
            quarters = frame.rotation // 90
            upright = np.rot90(array, quarters)
            yield np.ascontiguousarray(upright)
