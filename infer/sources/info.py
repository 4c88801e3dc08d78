"""Plain facts about a source: its frames, its clock, its colours, its other streams."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from infer.code_points import BT601, BT709, RGB_MATRIX, UNSPECIFIED

# Pixels of a picture: a header of 30 bytes can ask for memory without limit.
DEFAULT_MAX_PIXELS = 8192 * 8192


# Formats of pictures in the container of films, with alpha as a second picture.
PICTURES_LIKE_FILMS = (".avif", ".heic", ".heif")


@dataclass(frozen=True)
class Limits:
    """The rules of reading a source.

    trusted: a list may name files outside its folder. max_pixels: of a picture.
    """

    trusted: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS


DEFAULT_LIMITS = Limits()
# For files that this program made, whatever their size.
OWN_OUTPUT = Limits(max_pixels=2**31 - 1)


@dataclass(frozen=True)
class ColorTags:
    """H.273 code points in FFmpeg's numbers; range: 0 not said, 1 limited, 2 full."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0


@dataclass(frozen=True)
class PixelLayout:
    """How samples are stored: bits per component, chroma ('420', '422', '444', 'rgb',
    'gray'), alpha.
    """

    name: str
    bits: int
    chroma: str
    has_alpha: bool

    @property
    def is_deep(self) -> bool:
        """More than 8 bits: such frames travel as uint16."""
        return self.bits > 8

    def with_alpha(self, has_alpha: bool) -> "PixelLayout":
        """Returns the layout with another word on alpha."""
        return replace(self, has_alpha=has_alpha)


@dataclass(frozen=True)
class HDRMetadata:
    """Static HDR metadata. primaries: (x, y) of red, green, blue; luminance: (min, max)
    in cd/m2.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] = ()
    white: tuple[Fraction, Fraction] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    max_cll: int = 0
    max_fall: int = 0


@dataclass(frozen=True)
class StreamInfo:
    """A stream that is copied, not upscaled. kind: audio, subtitle, attachment, cover
    or as FFmpeg calls it.
    """

    index: int
    kind: str
    codec: str
    metadata: dict[str, str] = field(default_factory=dict, hash=False)
    disposition: int = 0

    @property
    def is_attached(self) -> bool:
        """It belongs to the whole file and has no time."""
        return self.kind in ("attachment", "cover")

    def __str__(self) -> str:
        return f"{self.kind} stream {self.index} ({self.codec})"


@dataclass(frozen=True)
class VideoInfo:
    """One source. `width` x `height` are the stored (not rotated) pixels of its first
    frame.
    """

    path: str
    container: str
    """FFmpeg's demuxer name, or 'images' for a folder."""
    stream: int
    codec: str
    width: int
    height: int
    layout: PixelLayout
    color: ColorTags
    time_base: Fraction
    rate: Fraction
    """Average frames per second, exact as the container states it."""
    num_frames: int | None
    """As the container states it; None when it does not."""
    start: Fraction
    """Seconds that are taken off every timestamp of the output (formats whose clock
    starts anywhere).
    """
    has_timestamps: bool = True
    sar: Fraction | None = None
    display_matrix: tuple[int, ...] | None = None
    interlaced: bool = False
    hdr: HDRMetadata | None = None
    others: tuple[StreamInfo, ...] = ()
    """Those that are attached come last."""
    left_out: tuple[str, ...] = ()
    """What cannot be carried over from this source whatever the container, in words."""
    metadata: dict[str, str] = field(default_factory=dict, hash=False)
    stream_metadata: dict[str, str] = field(default_factory=dict, hash=False)
    """Of the video stream."""
    disposition: int = 0
    """Of the video stream, FFmpeg's flags."""
    chapters: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    files: tuple[str, ...] = ()
    """The image files of a folder, in order."""
    is_upright: bool = True
    """Pictures of a folder are turned; otherwise each frame tells its orientation."""
    limits: Limits = DEFAULT_LIMITS
    is_woven: bool = False
    """Pictures are interlaced although they do not say so."""
    reduced_from: tuple[int, int] | None = None
    """(width, height) of the stored frames, where they are reduced while they are read;
    `width` x `height` are then those of the reduced ones."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) of the frames in the file."""
        return self.reduced_from or (self.width, self.height)

    @property
    def is_picture(self) -> bool:
        """Whether the source is one picture and no film."""
        if self.path.lower().endswith(PICTURES_LIKE_FILMS):
            return self.num_frames == 1
        # png_pipe, jpeg_pipe, ...: FFmpeg's readers of single pictures.
        return self.container.endswith("_pipe") or self.container == "image2"

    @property
    def is_sideways(self) -> bool:
        """Whether players turn the picture by a quarter, so that its sides change."""
        matrix = self.display_matrix
        if matrix is None:
            return False
        # x' = ax + cy, y' = bx + dy: across goes mostly down if b is larger than a.
        a, b = matrix[:2]
        return abs(b) > abs(a)

    @property
    def matrix(self) -> int:
        """The YUV matrix that decodes this source.

        It is the tagged one, else the one that players guess by the size.
        """
        if self.color.matrix not in (UNSPECIFIED, RGB_MATRIX):
            return self.color.matrix
        return guessed_matrix(self.stored_size[1])

    @property
    def frame_duration(self) -> int:
        """One frame at the average rate, in ticks of the time base, at least 1."""
        num_ticks = 1 / (self.rate * self.time_base)
        return max(1, round(num_ticks))


def reduced(info: VideoInfo, factor: float) -> VideoInfo:
    """Returns the source as it is read when its frames are reduced by the factor."""
    if factor == 1 or info.reduced_from is not None:
        return info
    # not below the two pixels that chroma at half size needs
    width = max(2, round(info.width * factor))
    height = max(2, round(info.height * factor))
    size = info.stored_size
    return replace(info, width=width, height=height, reduced_from=size)


def guessed_matrix(height: int) -> int:
    """The matrix that players assume for untagged video of this height."""
    return BT709 if height >= 720 else BT601
