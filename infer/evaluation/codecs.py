"""Encoders and decoders that make a dirty input, each with one fixed setting.

Training has an encoder of its own: its settings are drawn at random and change with its
recipes, while those of a judge must never change.
"""

import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation

GROUP = 12
"""Frames from I-frame to I-frame: that of broadcast and discs. Longer groups of the web
would leave no I-frame in the clips that are judged."""
FRAME_RATE = 25
MIN_SIDE = 64
"""Smallest picture that all of the encoders take (SVT-AV1's limit)."""
QUALITY = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
)


DESCRIPTION = (
    f"one thread, {FRAME_RATE} frames a second, I-frame at least every {GROUP} frames; "
    "x264 and x265 medium, VP9 good 4, SVT-AV1 8"
)


class Encode(NamedTuple):
    """One generation: a name of CODECS, and its CRF or quantiser."""

    codec: str
    quality: float


@dataclass(frozen=True)
class Codec:
    """An encoder with its fixed options, and the decoder of its packets."""

    encoder: str
    decoder: str
    quality_range: tuple[float, float]
    options: dict[str, str] = field(default_factory=dict)
    by_quantiser: bool = False
    """A constant quantiser, for encoders without CRF."""
    pixels: str = "yuv420p"


# One worker thread each: with more, rate control of x265 and VP9 depends on timing.
CODECS = {
    "h264": Codec("libx264", "h264", (0, 51), {"preset": "medium"}),
    "hevc": Codec(
        "libx265",
        "hevc",
        (0, 51),
        {
            "preset": "medium",
            "x265-params": "pools=none:frame-threads=1:open-gop=0:log-level=error",
        },
    ),
    "vp9": Codec(
        "libvpx-vp9",
        "vp9",
        (0, 63),
        {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "0"},
    ),
    "av1": Codec(
        "libsvtav1", "libdav1d", (1, 63), {"preset": "8", "svtav1-params": "lp=1"}
    ),
    "mpeg4": Codec("mpeg4", "mpeg4", (1, 31), {"bf": "2"}, by_quantiser=True),
    "mpeg2": Codec("mpeg2video", "mpeg2video", (1, 31), {"bf": "2"}, by_quantiser=True),
    "mjpeg": Codec("mjpeg", "mjpeg", (1, 31), by_quantiser=True, pixels="yuvj420p"),
}


def recompress(frames: np.ndarray, stage: Encode) -> tuple[np.ndarray, np.ndarray]:
    """Frames after encoding and decoding, uint8 [f, h, w, 3], and bool [f]: I-frames.

    Raises RuntimeError when the codec returns another number of frames.
    """
    packets = encode(frames, stage)
    decoded, intra = decode(packets, stage, frames.shape[1:3])
    if len(decoded) != len(frames):
        raise RuntimeError(f"{stage}: {len(frames)} frames in, {len(decoded)} out")
    return decoded, intra


def encode(frames: np.ndarray, stage: Encode) -> list[Packet]:
    """Packets of uint8 RGB frames [f, h, w, 3], h and w at least MIN_SIDE.

    An odd side is padded by one repeated pixel, as chroma at half size needs.
    """
    height, width = frames.shape[1:3]
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"LR frames of {width}x{height}: the encoders of --degrade need at least "
            f"{MIN_SIDE} pixels a side"
        )
    nothing = (0, 0)
    below = (0, height % 2)
    right = (0, width % 2)
    padded = np.pad(frames, (nothing, below, right, nothing), mode="edge")
    _, even_height, even_width, _ = padded.shape
    context = _open_encoder(stage, even_width, even_height)
    packets = []
    for number, rgb in enumerate(padded):
        pixels = np.ascontiguousarray(rgb)
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format=context.pix_fmt, interpolation=QUALITY)
        frame.pts = number
        packets += context.encode(frame)
    return packets + context.encode(None)


def decode(
    packets: list[Packet], stage: Encode, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [f, h, w, 3] cropped to `size` (h, w), and bool [f]: I-frames."""
    context: Any = CodecContext.create(CODECS[stage.codec].decoder, "r")
    context.thread_count = 1
    frames = []
    for packet in packets:
        frames += context.decode(packet)
    frames += context.decode(None)
    height, width = size
    pictures = []
    for frame in frames:
        rgb = frame.to_ndarray(format="rgb24", interpolation=QUALITY)
        pictures.append(rgb[:height, :width])
    intra = [frame.pict_type == PictureType.I for frame in frames]
    return np.stack(pictures), np.array(intra)


def _open_encoder(stage: Encode, width: int, height: int) -> Any:
    # SVT-AV1 prints its settings on every start; its level "error" is 1
    os.environ.setdefault("SVT_LOG", "1")
    codec = CODECS[stage.codec]
    context: Any = CodecContext.create(codec.encoder, "w")
    context.width = width
    context.height = height
    context.pix_fmt = codec.pixels
    context.framerate = FRAME_RATE
    context.time_base = Fraction(1, FRAME_RATE)
    context.gop_size = GROUP
    context.thread_count = 1
    context.options = codec.options | _quality_options(codec, stage.quality)
    return context


def _quality_options(codec: Codec, quality: float) -> dict[str, str]:
    if codec.by_quantiser:
        quantiser = str(round(quality))
        return {"qmin": quantiser, "qmax": quantiser}
    return {"crf": f"{quality:g}"}
