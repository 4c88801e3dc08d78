"""Encoders: what each can do and how it is asked for quality, colours and HDR metadata."""

from dataclasses import dataclass
from fractions import Fraction

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from infer.sources.info import (
    FULL,
    LIMITED,
    RGB_MATRIX,
    UNSPECIFIED,
    ColorTags,
    HDRMetadata,
    PixelLayout,
)
from infer.sources.probe import pixel_layout, reason


@dataclass(frozen=True)
class Encoder:
    """An FFmpeg encoder. quality: its option for constant quality ('' if it has none);
    crf: our default.
    """

    name: str
    quality: str = ""
    crf: int | None = None
    preset: str = ""
    options: tuple[tuple[str, str], ...] = ()
    full_range: bool = True
    even_sizes: bool = False
    """Refuses odd sizes unless chroma is 4:4:4."""
    least: tuple[int, int] = (1, 1)
    """Width and height below which it must not be used, because it crashes or hangs."""
    memory: int = 100
    """Bytes per pixel that it takes, measured, mostly for the frames it looks ahead at.
    """
    params: str = ""
    """Its option for the encoder's own settings."""
    lean: str = ""
    """Those settings for frames of more than `HUGE` pixels, which it would otherwise
    hold by the dozen.
    """
    lean_memory: int = 0


ENCODERS = {
    e.name: e
    for e in (
        Encoder(
            "libx264",
            "crf",
            18,
            "medium",
            even_sizes=True,
            memory=225,
            params="x264-params",
            lean="rc-lookahead=5:sync-lookahead=0:bframes=0:ref=1",
            lean_memory=80,
        ),
        Encoder(
            # 4.2 writes beyond its buffers when the picture is 48 or less wide
            "libx265",
            "crf",
            20,
            "medium",
            even_sizes=True,
            least=(50, 1),
            memory=690,
            params="x265-params",
            lean="rc-lookahead=2:bframes=0:ref=1:frame-threads=1:lookahead-slices=0",
            lean_memory=165,
        ),
        # waits for ever at the end when one side is 24 or less and the other more than
        # 64
        Encoder("libsvtav1", "crf", 24, "8", least=(26, 26), memory=570),
        Encoder(
            "libvpx-vp9",
            "crf",
            24,
            "",
            (("b:v", "0"), ("row-mt", "1"), ("cpu-used", "3")),
        ),
        Encoder("ffv1", options=(("level", "3"), ("slicecrc", "1"))),
        Encoder("prores_ks", options=(("vendor", "apl0"),), full_range=False),
        Encoder("h264_nvenc", "cq", 19, "p5", (("rc", "vbr"),), even_sizes=True),
        Encoder("hevc_nvenc", "cq", 21, "p5", (("rc", "vbr"),), even_sizes=True),
        Encoder("av1_nvenc", "cq", 26, "p5", (("rc", "vbr"),), even_sizes=True),
    )
}
HUGE = 4096 * 2304
ALIASES = {
    "h264": "libx264",
    "x264": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "x265": "libx265",
    "av1": "libsvtav1",
    "svtav1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
}


@dataclass(frozen=True)
class VideoSpec:
    """Everything about the video stream to be encoded."""

    encoder: str
    pixel_format: str
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    color: ColorTags
    matrix: int
    """The matrix of the samples, also where the tag is not said."""
    sar: Fraction | None = None
    crf: int | None = None
    preset: str | None = None
    hdr: HDRMetadata | None = None
    threads: int = 0

    @property
    def deep(self) -> bool:
        return pixel_layout(VideoFormat(self.pixel_format)).is_deep

    @property
    def is_huge(self) -> bool:
        return self.width * self.height > HUGE

    @property
    def memory(self) -> int:
        """Bytes that encoding takes."""
        encoder = ENCODERS[self.encoder]
        lean = self.is_huge and encoder.lean_memory
        return (lean or encoder.memory) * self.width * self.height

    @property
    def live_memory(self) -> int:
        """Bytes that encoding takes when no frame is held back, as by the lean
        settings.
        """
        encoder = ENCODERS.get(self.encoder)
        return (
            0
            if encoder is None
            else (encoder.lean_memory or encoder.memory) * self.width * self.height
        )


def find_encoder(name: str | None, layout: PixelLayout) -> Encoder:
    """The encoder of this name or alias; without a name H.264 for 8 bits and HEVC for
    more.
    """
    name = name or ("libx265" if layout.is_deep else "libx264")
    name = ALIASES.get(name, name)
    if name not in ENCODERS:
        raise ValueError(
            f"--codec {name}: unknown, expected one of {', '.join(ENCODERS)} (or {', '.join(ALIASES)})"
        )
    try:
        Codec(name, "w")
    except UnknownCodecError:
        raise ValueError(f"--codec {name}: not in this build of FFmpeg") from None
    return ENCODERS[name]


def choose_pixel_format(
    encoder: Encoder, layout: PixelLayout, size: tuple[int, int]
) -> str:
    """The encoder's pixel format that loses least: bit depth first, then chroma; RGB
    sources become 4:2:0.
    """
    wanted = {"rgb": "420", "gray": "420"}.get(layout.chroma, layout.chroma)
    if encoder.even_sizes and (size[0] % 2 or size[1] % 2):
        wanted = "444"
    known = {f.name for f in Codec(encoder.name, "w").video_formats or []}
    bits = 8 if layout.bits <= 8 else layout.bits
    depths = [d for d in (8, 10, 12, 16) if d >= bits] + [
        d for d in (16, 12, 10, 8) if d < bits
    ]
    chromas = {
        "420": ("420", "422", "444"),
        "422": ("422", "444", "420"),
        "444": ("444", "422", "420"),
    }[wanted]
    for depth in depths:
        for chroma in chromas:
            name = f"yuv{chroma}p" + (f"{depth}le" if depth > 8 else "")
            special = {"yuv420p10le": "p010le"}.get(name)
            for candidate in (name, special):
                if candidate in known:
                    return candidate
    raise ValueError(
        f"--codec {encoder.name}: none of its pixel formats is supported here: choose another codec"
    )


def configure(context: VideoCodecContext, spec: VideoSpec, group: int) -> None:
    """Set up an encoder for closed groups of at most ``group`` frames; it is opened by
    its first use.
    """
    least = ENCODERS[spec.encoder].least
    if spec.width < least[0] or spec.height < least[1]:
        raise _refusal(spec, f"it fails below {least[0]}x{least[1]}")
    context.width, context.height, context.pix_fmt = (
        spec.width,
        spec.height,
        spec.pixel_format,
    )
    context.time_base, context.framerate = spec.time_base, spec.rate
    context.gop_size = max(group, 1)
    context.thread_count = spec.threads
    context.flags |= Flags.global_header
    context.options = encoder_options(ENCODERS[spec.encoder], spec)
    set_tags(context, spec)


def add_encoder(output: OutputContainer, spec: VideoSpec, group: int) -> VideoStream:
    """A stream of ``output`` with such an encoder."""
    stream = output.add_stream(spec.encoder, rate=spec.rate)
    assert isinstance(stream, VideoStream)
    configure(stream.codec_context, spec, group)
    return stream


def set_tags(context: VideoCodecContext, spec: VideoSpec) -> None:
    """Aspect ratio and colour tags, for an encoder or for a stream of ready packets."""
    context.sample_aspect_ratio = spec.sar or Fraction(0)
    context.color_primaries, context.color_trc = (
        spec.color.primaries,
        spec.color.transfer,
    )
    context.colorspace, context.color_range = spec.color.matrix, spec.color.range


def try_encoder(spec: VideoSpec) -> None:
    """Open the encoder once before the job; a ValueError says why it refuses."""
    context = VideoCodecContext.create(spec.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    configure(context, spec, 1)
    try:
        least = ENCODERS[spec.encoder].least
        if spec.width < least[0] or spec.height < least[1]:
            raise ValueError(f"it fails below {least[0]}x{least[1]}")
        context.open()
    except (av.FFmpegError, ValueError) as error:
        raise _refusal(spec, reason(error)) from None


def _refusal(spec: VideoSpec, why: str) -> ValueError:
    size = f"{spec.width}x{spec.height} {spec.pixel_format}"
    return ValueError(
        f"{spec.encoder} cannot encode {size} ({why}): try another --codec or size"
    )


def encoder_options(encoder: Encoder, spec: VideoSpec) -> dict[str, str]:
    """Options as FFmpeg takes them."""
    options = dict(encoder.options)
    if encoder.quality:
        options[encoder.quality] = str(encoder.crf if spec.crf is None else spec.crf)
    if preset := spec.preset or encoder.preset:
        options["preset"] = preset
    if encoder.name == "prores_ks":
        options["profile"] = "4444" if "444" in spec.pixel_format else "hq"
    if encoder.params:
        own = [*_x26x_hdr(spec), *([encoder.lean] if spec.is_huge else [])]
        if encoder.name == "libx265":
            own = ["log-level=error", "open-gop=0", *own]
        if own:
            options[encoder.params] = ":".join(own)
    if encoder.name == "libsvtav1" and spec.hdr:
        options["svtav1-params"] = ":".join(_svt_hdr(spec.hdr))
    return options


def _x26x_hdr(spec: VideoSpec) -> list[str]:
    hdr = spec.hdr
    if hdr is None:
        return []
    found = []
    if hdr.primaries and hdr.white and hdr.luminance:
        red, green, blue = hdr.primaries
        points = "".join(
            f"{n}({round(x * 50000)},{round(y * 50000)})"
            for n, (x, y) in zip(
                ("G", "B", "R", "WP"), (green, blue, red, hdr.white), strict=True
            )
        )
        low, high = (round(v * 10000) for v in hdr.luminance)
        name = "master-display" if spec.encoder == "libx265" else "mastering-display"
        found.append(f"{name}={points}L({high},{low})")
    if hdr.max_cll or hdr.max_fall:
        name = "max-cll" if spec.encoder == "libx265" else "cll"
        found.append(f"{name}={hdr.max_cll},{hdr.max_fall}")
    return found


def _svt_hdr(hdr: HDRMetadata) -> list[str]:
    found = []
    if hdr.primaries and hdr.white and hdr.luminance:
        red, green, blue = hdr.primaries
        points = "".join(
            f"{n}({float(x):.5f},{float(y):.5f})"
            for n, (x, y) in zip(
                ("G", "B", "R", "WP"), (green, blue, red, hdr.white), strict=True
            )
        )
        low, high = (float(v) for v in hdr.luminance)
        found.append(f"mastering-display={points}L({high:.4f},{low:.4f})")
    if hdr.max_cll or hdr.max_fall:
        found.append(f"content-light={hdr.max_cll},{hdr.max_fall}")
    return found


def written_tags(
    color: ColorTags, matrix: int, guess: int, encoder: Encoder
) -> ColorTags:
    """Tags for the output: as they were, except where silence would be misread.

    matrix: of the samples; guess: what players assume at the output's size. Players
    guess the matrix of untagged video by its size: if the bigger output would be
    guessed differently, the matrix is written out. RGB sources become limited-range YUV
    and say so.
    """
    tag = (
        matrix
        if color.matrix == RGB_MATRIX
        or (color.matrix == UNSPECIFIED and guess != matrix)
        else color.matrix
    )
    keeps_range = color.matrix != RGB_MATRIX and (
        encoder.full_range or color.range != FULL
    )
    return ColorTags(
        color.primaries, color.transfer, tag, color.range if keeps_range else LIMITED
    )
