"""Recordings with clocks as they are met: joined, restarted, late, with gaps."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (64, 48)
"""One size for all, because every size is a compilation."""
RATE = 25
SOUND_RATE = 48000


def moving(number: int) -> np.ndarray:
    """Picture [48, 64, 3] of a ramp that moves by two levels a frame."""
    width, height = SIZE
    columns = np.arange(width) + number
    # from 64 to 190: limited range and chroma clip nothing
    ramp = 64 + 2 * (columns % 64)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = ramp[None, :, None]
    return picture


def tone(place: int) -> av.AudioFrame:
    """One picture's length of a sine."""
    count = SOUND_RATE // RATE
    first = place * count
    numbers = np.arange(first, first + count)
    # 380 Hz at a third of full scale
    samples = 0.3 * np.sin(numbers * 0.05)
    samples16 = (samples[None] * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples16, format="s16", layout="mono")
    frame.rate = SOUND_RATE
    frame.time_base = Fraction(1, SOUND_RATE)
    frame.pts = first
    return frame


def record(
    path: Path,
    muxer: str,
    codec: str,
    sound: str | None = None,
    count: int = 12,
    begin: float = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write ``count`` pictures at 25/s, the first at ``begin`` seconds."""
    late = {"output_ts_offset": str(begin)} if begin else {}
    with av.open(str(path), "w", format=muxer, container_options=late) as output:
        video = output.add_stream(codec, rate=RATE, options=options or {})
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        track = output.add_stream(sound, rate=SOUND_RATE) if sound else None
        if track is not None and "wma" in track.name:
            track.bit_rate = 64_000  # the encoder opens with no other default
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(moving(number))
            frame.pts = number
            frame.time_base = Fraction(1, RATE)
            output.mux(video.encode(frame))
            if track is not None:
                resampled = _fitting(tone(number), track)
                output.mux(track.encode(resampled))
        output.mux(video.encode(None))
        if track is not None:
            output.mux(track.encode(None))
    return path


def _fitting(frame: av.AudioFrame, track: av.AudioStream) -> av.AudioFrame:
    context = track.codec_context
    resampler = av.AudioResampler(context.format, context.layout, SOUND_RATE)
    return resampler.resample(frame)[0]


FLV_HEADER = 13
"""Bytes before the first tag, which a restarted stream does not repeat."""


def join(path: Path, *parts: Path) -> Path:
    """The bytes of the parts after each other, as `cat` does it."""
    contents = [part.read_bytes() for part in parts]
    if path.suffix == ".flv":
        contents[1:] = [data[FLV_HEADER:] for data in contents[1:]]
    path.write_bytes(b"".join(contents))
    return path
