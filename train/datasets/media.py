"""Files to uint8 RGB frames: videos through PyAV (imported only when needed),
photographs through Pillow.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sdvsr_jax import video_names

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
VIDEO_SUFFIXES = set(video_names.VIDEO_SUFFIXES)
MAX_PHOTO_SIDE = 2048


def encode_frame(frame: np.ndarray, lossless: bool = False) -> bytes:
    """uint8[h,w,3] -> PNG, or JPEG of quality 98 without chroma subsampling (about 48
    dB, a third of the bytes).
    """
    buffer = io.BytesIO()
    if lossless:
        Image.fromarray(frame).save(buffer, "PNG", compress_level=3)
    else:
        Image.fromarray(frame).save(buffer, "JPEG", quality=98, subsampling=0)
    return buffer.getvalue()


def decode_frame(data: bytes) -> np.ndarray:
    """Any image bytes Pillow reads -> uint8[h,w,3]."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def read_photo(path: Path) -> bytes:
    """Image bytes of a photograph, upright and at most MAX_PHOTO_SIDE long; the file's
    own bytes where possible.
    """
    data = path.read_bytes()
    image = Image.open(io.BytesIO(data))
    upright = ImageOps.exif_transpose(image)
    fits = max(image.size) <= MAX_PHOTO_SIDE
    if fits and upright.size == image.size and image.mode == "RGB":
        upright.load()
        return data
    upright = upright.convert("RGB")
    upright.thumbnail((MAX_PHOTO_SIDE, MAX_PHOTO_SIDE), Image.Resampling.LANCZOS)
    return encode_frame(np.asarray(upright))


def shrink_frame(frame: np.ndarray, factor: float, trim: float = 0.0) -> np.ndarray:
    """Cut `trim` of each side away, then reduce by `factor` (antialiased bicubic):
    hides the source's own codec.
    """
    height, width = frame.shape[:2]
    top, left = int(height * trim), int(width * trim)
    image = Image.fromarray(frame[top : height - top, left : width - left])
    if factor == 1:
        return np.asarray(image)
    size = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def read_video(path: Path) -> Iterator[np.ndarray]:
    """Decoded frames, uint8[h,w,3], upright. Raises av.error.FFmpegError where the file
    breaks.
    """
    import av
    from av.video.reformatter import Interpolation

    # the default chroma filter is nearest: FULL_CHR flags keep colour edges where they
    # are
    quality = (
        Interpolation.BICUBIC
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
    )
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            array = frame.to_ndarray(
                format="rgb24", interpolation=quality | Interpolation.ACCURATE_RND
            )
            yield np.ascontiguousarray(np.rot90(array, frame.rotation // 90))
