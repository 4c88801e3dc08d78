"""A copy of a video that every browser can play, for the motion view:
`python -m infer.ui.film_worker SOURCE TARGET`.

Frames are decoded as the command sees them, HDR is tone mapped as in the paused view,
and pictures are turned upright; times stay as they are. The number of frames so far is
written to TARGET.count.
"""

import sys
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from infer.code_points import BT709
from infer.colours import FromRGB
from infer.errors import JobError
from infer.sources.files import read_frames
from infer.sources.info import VideoInfo
from infer.sources.probe import probe
from infer.ui.clips import describe
from infer.ui.pictures import to_8_bit, tone_map
from infer.ui.schemas import Clip
from sdvsr_jax.atomic import atomic_write

LONGEST_SIDE = 2560
"""Pixels: larger films stutter in browsers without the help of a GPU."""
ENCODER = {"crf": "12", "preset": "veryfast", "bf": "0", "g": "30"}
"""No difference is seen in motion; a key frame each second or so, for jumps."""


def main(source: str, target: str) -> int:
    """Write the film, complete or not at all; returns the exit status."""
    try:
        with atomic_write(target) as part:
            info = probe(source)
            write_film(info, str(part), f"{target}.count")
    except (JobError, ValueError, OSError, av.FFmpegError) as error:
        print(f"no film: {error}", file=sys.stderr)
        return 1
    return 0


def write_film(info: VideoInfo, path: str, count: str) -> None:
    """Encode all frames of a video; ``count`` is a file that tells how many."""
    clip = describe(info)
    width, height = film_size(clip)
    # H.264 of 8 bit and 4:2:0 is played by every browser.
    converter = FromRGB(width, height, False, "yuv420p", BT709, False)
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", info.rate, options=ENCODER)
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"
        stream.time_base = info.time_base
        stream.codec_context.time_base = info.time_base
        stream.codec_context.colorspace = BT709
        time_base = Fraction(info.time_base)
        for number, (rgb, pts) in enumerate(_pictures(info, clip), 1):
            frame = converter.convert(rgb, pts, time_base)
            container.mux(stream.encode(frame))
            _tell(count, number)
        container.mux(stream.encode(None))


def film_size(clip: Clip) -> tuple[int, int]:
    """Returns the even (width, height) of a clip's film, upright, as stored otherwise:
    the page stretches both kinds of picture alike.
    """
    width, height = clip.width, clip.height
    if clip.rotation % 180:
        width, height = height, width
    share = min(1.0, LONGEST_SIDE / max(width, height))
    return _even(width * share), _even(height * share)


def _even(side: float) -> int:
    """Returns a side that 4:2:0 can have, which halves it for its colours."""
    return max(2, round(side / 2) * 2)


def _pictures(info: VideoInfo, clip: Clip) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the pixels of each frame, uint8 of the film's size, and its time."""
    size = film_size(clip)
    origin: int | None = None
    for frame in read_frames(info):
        if origin is None:
            origin = frame.pts
        rgb = tone_map(frame.rgb, clip.hdr) if clip.hdr else to_8_bit(frame.rgb)
        upright = turn(rgb, clip.rotation, clip.mirrored)
        if upright.shape[1::-1] != size:
            picture = Image.fromarray(upright)
            resized = picture.resize(size, Image.Resampling.BICUBIC)
            upright = np.asarray(resized)
        yield np.ascontiguousarray(upright), frame.pts - origin


def turn(rgb: np.ndarray, rotation: int, mirrored: bool) -> np.ndarray:
    """Returns a picture as players show it: mirrored left to right, then turned by
    clockwise degrees.
    """
    if mirrored:
        rgb = rgb[:, ::-1]
    quarters = rotation // 90
    # numpy turns against the clock
    return np.rot90(rgb, -quarters)


def _tell(path: str, number: int) -> None:
    with open(path, "w") as file:
        file.write(str(number))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
