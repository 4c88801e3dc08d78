"""The encoders with their abilities, and the choice among them."""

import itertools
from dataclasses import dataclass

from av.codec import Codec
from av.codec.codec import UnknownCodecError

from infer.sources.info import PixelLayout


@dataclass(frozen=True)
class Encoder:
    """An FFmpeg encoder.

    quality: its option for constant quality, '' if it has none; crf: our default;
    max_crf: its worst. params: its option for the encoder's own settings.
    """

    name: str
    quality: str = ""
    crf: int | None = None
    max_crf: int = 51
    preset: str = ""
    options: tuple[tuple[str, str], ...] = ()
    full_range: bool = True
    alpha: bool = False
    """Takes an alpha channel, and every player of its output knows of it."""
    even_sizes: bool = False
    """Refuses odd sizes unless chroma is 4:4:4."""
    least: tuple[int, int] = (1, 1)
    """Width and height below which it must not be used, because it crashes or hangs."""
    memory: int = 100
    """Bytes per pixel that it takes, measured, mostly for the frames it looks ahead at.
    """
    params: str = ""
    lean: str = ""
    """Those settings for frames of more than `HUGE` pixels, which it would otherwise
    hold by the dozen.
    """
    lean_memory: int = 0


_X264 = Encoder(
    "libx264",
    quality="crf",
    crf=18,
    preset="medium",
    even_sizes=True,
    memory=225,
    params="x264-params",
    lean="rc-lookahead=5:sync-lookahead=0:bframes=0:ref=1",
    lean_memory=80,
)
_X265 = Encoder(
    "libx265",
    quality="crf",
    crf=20,
    preset="medium",
    even_sizes=True,
    # 4.2 writes beyond its buffers when the picture is 48 or less wide.
    least=(50, 1),
    memory=690,
    params="x265-params",
    lean="rc-lookahead=2:bframes=0:ref=1:frame-threads=1:lookahead-slices=0",
    lean_memory=165,
)
_SVT_AV1 = Encoder(
    "libsvtav1",
    quality="crf",
    crf=24,
    max_crf=63,
    preset="8",
    # It waits for ever at the end when one side is 24 or less and the other more than
    # 64.
    least=(26, 26),
    memory=570,
)
_VP9 = Encoder(
    "libvpx-vp9",
    quality="crf",
    crf=24,
    max_crf=63,
    # b:v 0: quality alone decides, and no bit rate beside it.
    options=(("b:v", "0"), ("row-mt", "1"), ("cpu-used", "3")),
    alpha=True,
)


def _nvenc(name: str, crf: int, max_crf: int = 51) -> Encoder:
    return Encoder(
        name,
        quality="cq",
        crf=crf,
        max_crf=max_crf,
        preset="p5",
        options=(("rc", "vbr"),),
        even_sizes=True,
    )


_ALL = (
    _X264,
    _X265,
    _SVT_AV1,
    _VP9,
    # Level 3 has checksums of its slices: a flipped bit is told, and costs one of them.
    Encoder("ffv1", options=(("level", "3"), ("slicecrc", "1")), alpha=True),
    # The vendor is Apple's own mark.
    Encoder("prores_ks", options=(("vendor", "apl0"),), full_range=False, alpha=True),
    _nvenc("h264_nvenc", 19),
    _nvenc("hevc_nvenc", 21),
    _nvenc("av1_nvenc", 26),
)
ENCODERS = {encoder.name: encoder for encoder in _ALL}
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
DEPTHS = (8, 10, 12, 16)
# Chroma of the source -> what it may become, the best first.
CHROMAS = {
    "420": ("420", "422", "444"),
    "422": ("422", "444", "420"),
    "444": ("444", "422", "420"),
}
# Formats that some encoders take in another arrangement of the same samples.
SEMI_PLANAR = {"yuv420p10le": "p010le"}


def find_encoder(name: str | None, layout: PixelLayout) -> Encoder:
    """The encoder of this name or alias; by default H.264, or HEVC above 8 bits."""
    if name is None:
        name = "libx265" if layout.is_deep else "libx264"
    name = ALIASES.get(name, name)
    if name not in ENCODERS:
        raise ValueError(
            f"--codec {name}: unknown, expected one of {', '.join(ENCODERS)} "
            f"(or {', '.join(ALIASES)})"
        )
    try:
        Codec(name, "w")
    except UnknownCodecError:
        raise ValueError(f"--codec {name}: not in this build of FFmpeg") from None
    return ENCODERS[name]


def choose_pixel_format(
    encoder: Encoder, layout: PixelLayout, size: tuple[int, int]
) -> str:
    """The encoder's pixel format that loses least: alpha first, then bit depth, then
    chroma.

    RGB sources become 4:2:0.
    """
    chroma = layout.chroma
    if chroma in ("rgb", "gray"):
        chroma = "420"
    width, height = size
    is_odd = bool(width % 2 or height % 2)
    if encoder.even_sizes and is_odd:
        chroma = "444"
    formats = Codec(encoder.name, "w").video_formats or []
    known = {pixel_format.name for pixel_format in formats}
    is_alpha_kept = layout.has_alpha and encoder.alpha
    ways = (True, False) if is_alpha_kept else (False,)
    depths = _depths(layout.bits)
    for with_alpha in ways:
        for depth, candidate in itertools.product(depths, CHROMAS[chroma]):
            name = yuv_format(candidate, depth, with_alpha)
            for spelling in (name, SEMI_PLANAR.get(name)):
                if spelling in known:
                    return spelling
    raise ValueError(
        f"--codec {encoder.name}: none of its pixel formats is supported here: choose "
        "another codec"
    )


def yuv_format(chroma: str, depth: int, with_alpha: bool = False) -> str:
    """FFmpeg's name of a planar YUV format, such as yuv420p10le."""
    planes = "yuva" if with_alpha else "yuv"
    name = f"{planes}{chroma}p"
    return f"{name}{depth}le" if depth > 8 else name


def _depths(bits: int) -> list[int]:
    """Depths that hold so many bits, then those that lose the fewest."""
    enough = [depth for depth in DEPTHS if depth >= bits]
    fewer = [depth for depth in reversed(DEPTHS) if depth < bits]
    return enough + fewer
