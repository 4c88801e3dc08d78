"""Real video compression of a window: codec contexts used directly, one thread, the
frame count kept.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from train.data.batch import Clip, Picture

DECODERS = {
    "libx264": "h264",
    "libx265": "hevc",
    "libvpx-vp9": "vp9",
    "libsvtav1": "libdav1d",
    "mpeg4": "mpeg4",
    "mpeg2video": "mpeg2video",
    "mjpeg": "mjpeg",
}
SHARES = {
    "libx264": 0.45,
    "libx265": 0.12,
    "libvpx-vp9": 0.1,
    "libsvtav1": 0.06,
    "mpeg4": 0.09,
    "mpeg2video": 0.06,
    "mjpeg": 0.12,
}
"""How often each encoder is drawn: what people have, the old ones a little more than
that.
"""

SMALLEST = 112
"""Side below which x265 and SVT-AV1 are not used: the x265 in the wheel of PyAV 18.1
corrupts the heap on small frames at preset ultrafast, SVT-AV1 refuses frames smaller
than its block.
"""

CRF_RANGE = (14.0, 41.0)
QUANTISERS = {
    "libvpx-vp9": (16, 58),
    "libsvtav1": (18, 60),
    "mpeg4": (2, 26),
    "mpeg2video": (2, 26),
    "mjpeg": (2, 22),
}
"""What the ends of `CRF_RANGE` are on each encoder's own scale."""


@dataclass(frozen=True)
class CodecSettings:
    """One encode. `crf` is x264's: 18 is barely visible and 40 ugly; other encoders get
    its equivalent.
    """

    codec: str = "libx264"
    crf: float = 28.0
    preset: str = "veryfast"
    gop: int = 60
    low_latency: bool = False
    """No B-frames and no look-ahead, as real-time sources are encoded."""


def random_settings(rng: np.random.Generator) -> list[CodecSettings]:
    """One encode, or for one window in ten two x264 encodes in a row (a re-upload)."""
    kinds = ["libx264", "mpeg4", "twice"]
    kind = str(rng.choice(kinds, p=[0.7, 0.2, 0.1]))
    is_twice = kind == "twice"

    def settings() -> CodecSettings:
        # the order of these draws is a part of what a window is
        return CodecSettings(
            codec="libx264" if is_twice else kind,
            crf=float(rng.uniform(18, 40)),
            preset=str(rng.choice(["ultrafast", "veryfast", "medium"])),
            gop=int(rng.choice([12, 30, 60, 250])),
            low_latency=bool(rng.random() < 0.4),
        )

    num_encodes = 2 if is_twice else 1
    return [settings() for _ in range(num_encodes)]


def any_settings(rng: np.random.Generator, smallest_side: int) -> CodecSettings:
    """One encode by any of the seven encoders, from visually lossless to awful."""
    names = list(SHARES)
    shares = np.array(list(SHARES.values()))
    shares = shares / sum(SHARES.values())
    codec = str(rng.choice(names, p=shares))
    is_small = smallest_side < SMALLEST
    if is_small and codec in ("libx265", "libsvtav1"):
        codec = "libx264"
    presets = ["veryfast", "fast", "medium"]
    # x265 corrupts the heap at this one (`SMALLEST`)
    if codec != "libx265":
        presets.insert(0, "ultrafast")
    lowest_crf, highest_crf = CRF_RANGE
    return CodecSettings(
        codec=codec,
        crf=float(rng.triangular(lowest_crf, 28, highest_crf)),
        preset=str(rng.choice(presets)),
        gop=int(rng.choice([6, 12, 30, 60, 250])),
        low_latency=bool(rng.random() < 0.4),
    )


def compress(frames: Clip, settings: CodecSettings) -> Clip:
    """uint8[f,h,w,3] -> the same after encoding and decoding. RuntimeError if the codec
    loses a frame.
    """
    import av

    _, height, width, _ = frames.shape
    none = (0, 0)
    odd_row = (0, height % 2)
    odd_column = (0, width % 2)
    # 4:2:0 has a colour for two by two pixels
    padded = np.pad(frames, (none, odd_row, odd_column, none), mode="edge")
    _, even_height, even_width, _ = padded.shape
    encoder = _encoder(settings, even_width, even_height)
    packets = []
    for frame in padded:
        picture = _to_yuv(frame, encoder.pix_fmt)
        packets += encoder.encode(picture)
    # encoders hold frames back, to look ahead
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create(DECODERS[settings.codec], "r")
    decoder.thread_count = 1
    decoded = []
    for packet in packets:
        decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    if len(decoded) != len(frames):
        raise RuntimeError(f"{settings}: {len(frames)} frames in, {len(decoded)} out")
    pictures = []
    for frame in decoded:
        picture = _to_rgb(frame)
        pictures.append(picture[:height, :width])
    return np.stack(pictures)


def _encoder(settings: CodecSettings, width: int, height: int) -> Any:
    import av

    encoder: Any = av.CodecContext.create(settings.codec, "w")
    encoder.width = width
    encoder.height = height
    # JPEG has the full range
    encoder.pix_fmt = "yuvj420p" if settings.codec == "mjpeg" else "yuv420p"
    encoder.framerate = 25
    encoder.time_base = Fraction(1, 25)
    encoder.gop_size = settings.gop
    encoder.thread_count = 1
    encoder.options = _options(settings)
    return encoder


def _options(settings: CodecSettings) -> dict[str, str]:
    codec = settings.codec
    if codec in ("libx264", "libx265"):
        options = {"preset": settings.preset, "crf": f"{settings.crf:.2f}"}
        if codec == "libx265":
            options["x265-params"] = "log-level=none:pools=none:frame-threads=1"
        if settings.low_latency:
            options["tune"] = "zerolatency"
        return options
    quantiser = _quantiser(settings)
    if codec == "libvpx-vp9":
        lag = "0" if settings.low_latency else "12"
        return {
            "crf": quantiser,
            "b": "0",
            "deadline": "realtime",
            "cpu-used": "7",
            "lag-in-frames": lag,
        }
    if codec == "libsvtav1":
        return {"crf": quantiser, "preset": "10", "svtav1-params": "lp=1"}
    options = {"qmin": quantiser, "qmax": quantiser}
    # of JPEG every frame stands alone
    if codec != "mjpeg":
        options["bf"] = "0" if settings.low_latency else "2"
    return options


def _quantiser(settings: CodecSettings) -> str:
    """The settings' CRF on the encoder's own scale."""
    low, high = QUANTISERS[settings.codec]
    lowest_crf, highest_crf = CRF_RANGE
    share = (settings.crf - lowest_crf) / (highest_crf - lowest_crf)
    share = min(max(share, 0.0), 1.0)
    if settings.codec in ("libvpx-vp9", "libsvtav1"):
        quantiser = low + share * (high - low)
    else:
        # a quantiser step of these is a step in pixel values: CRF counts its logarithm
        quantiser = low * (high / low) ** share
    return str(round(quantiser))


def _to_yuv(frame: Picture, pixel_format: str) -> Any:
    import av

    pixels = np.ascontiguousarray(frame)
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return picture.reformat(format=pixel_format, interpolation=_quality())


def _to_rgb(frame) -> np.ndarray:
    return frame.to_ndarray(format="rgb24", interpolation=_quality())


def _quality():
    from av.video.reformatter import Interpolation

    # without these flags chroma is enlarged by its nearest neighbour
    full_chroma = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    return Interpolation.BICUBIC | full_chroma | Interpolation.ACCURATE_RND
