"""Real video compression of a window: codec contexts used directly, one thread, the
frame count kept.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

# no x265: the one in the wheel of PyAV 18.1 corrupts the heap at preset ultrafast (LR
# crops of 48 to 96 pixels)
DECODERS = {"libx264": "h264", "mpeg4": "mpeg4"}


@dataclass(frozen=True)
class CodecSettings:
    """One encode. `crf` 18 is barely visible and 40 ugly; for mpeg4 it sets the
    equivalent quantiser.
    """

    codec: str = "libx264"
    crf: float = 28.0
    preset: str = "veryfast"
    gop: int = 60
    low_latency: bool = False
    """No B-frames and no look-ahead, as real-time sources are encoded."""


def random_settings(rng: np.random.Generator) -> list[CodecSettings]:
    """One encode, or for one window in ten two x264 encodes in a row (a re-upload)."""
    codec = str(rng.choice(["libx264", "mpeg4", "twice"], p=[0.7, 0.2, 0.1]))

    def settings() -> CodecSettings:
        return CodecSettings(
            codec="libx264" if codec == "twice" else codec,
            crf=float(rng.uniform(18, 40)),
            preset=str(rng.choice(["ultrafast", "veryfast", "medium"])),
            gop=int(rng.choice([12, 30, 60, 250])),
            low_latency=bool(rng.random() < 0.4),
        )

    return [settings() for _ in range(2 if codec == "twice" else 1)]


def compress(frames: np.ndarray, settings: CodecSettings) -> np.ndarray:
    """uint8[f,h,w,3] -> the same after encoding and decoding. RuntimeError if the codec
    loses a frame.
    """
    import av

    height, width = frames.shape[1:3]
    padded = np.pad(
        frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge"
    )
    encoder = _encoder(settings, padded.shape[2], padded.shape[1])
    decoder: Any = av.CodecContext.create(DECODERS[settings.codec], "r")
    decoder.thread_count = 1
    packets = [p for f in padded for p in encoder.encode(_to_yuv(f))] + encoder.encode(
        None
    )
    decoded = [f for p in packets for f in decoder.decode(p)] + decoder.decode(None)
    if len(decoded) != len(frames):
        raise RuntimeError(f"{settings}: {len(frames)} frames in, {len(decoded)} out")
    return np.stack([_to_rgb(f)[:height, :width] for f in decoded])


def _encoder(settings: CodecSettings, width: int, height: int) -> Any:
    import av

    encoder: Any = av.CodecContext.create(settings.codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = 25, Fraction(1, 25)
    encoder.gop_size = settings.gop
    encoder.thread_count = 1
    encoder.options = _options(settings)
    return encoder


def _options(settings: CodecSettings) -> dict[str, str]:
    if settings.codec == "mpeg4":
        quantiser = round(np.interp(settings.crf, [18, 40], [2, 24]))
        return {
            "qmin": str(quantiser),
            "qmax": str(quantiser),
            "bf": "0" if settings.low_latency else "2",
        }
    options = {"preset": settings.preset, "crf": f"{settings.crf:.2f}"}
    if settings.low_latency:
        options["tune"] = "zerolatency"
    return options


def _to_yuv(frame: np.ndarray):
    import av

    video_frame = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(frame), format="rgb24"
    )
    return video_frame.reformat(format="yuv420p", interpolation=_quality())


def _to_rgb(frame) -> np.ndarray:
    return frame.to_ndarray(format="rgb24", interpolation=_quality())


def _quality():
    from av.video.reformatter import Interpolation

    full_chroma = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    return Interpolation.BICUBIC | full_chroma | Interpolation.ACCURATE_RND
