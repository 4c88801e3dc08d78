"""Facts of one decoded picture: how its samples are stored, its tags, its side data."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infer.code_points import FULL, UNSPECIFIED
from infer.sources.info import ColorTags, HDRMetadata, PixelLayout

# A code point that says as little as `UNSPECIFIED`.
RESERVED = 3
# Side data that travels inside coded pictures and is not written again.
LOST_IN_PIXELS = {
    "A53_CC": "closed captions",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "STEREO3D": "the note of how two views are packed",
    "SPHERICAL": "the note of a spherical projection",
    "ICC_PROFILE": "the ICC profile",
}


def _name_unknown(cls: type, value: int) -> object:
    kind = object.__new__(cls)
    kind._name_ = f"UNKNOWN_{value}"
    kind._value_ = value
    return kind


# PyAV's list of side data lacks newer kinds, such as EXIF, and a frame with one of them
# would show none at all.
SideDataType._missing_ = classmethod(_name_unknown)  # type: ignore[assignment]


def pixel_layout(pixel_format: VideoFormat) -> PixelLayout:
    """Returns bits and chroma subsampling of an FFmpeg pixel format."""
    components = pixel_format.components
    has_alpha = any(c.is_alpha for c in components)
    bits = max((c.bits for c in components), default=8)
    return PixelLayout(pixel_format.name, bits, _chroma(pixel_format), has_alpha)


def _chroma(pixel_format: VideoFormat) -> str:
    if pixel_format.is_rgb or pixel_format.has_palette or pixel_format.is_bayer:
        return "rgb"
    colors = [c for c in pixel_format.components if not c.is_alpha]
    if len(colors) < 3:
        return "gray"
    if pixel_format.chroma_height(64) < 64:
        return "420"
    return "422" if pixel_format.chroma_width(64) < 64 else "444"


def layout_of(frame: VideoFrame, codec: str) -> PixelLayout:
    """Returns the layout of a picture, with alpha only where it can be seen."""
    layout = pixel_layout(frame.format)
    if codec == "mjpeg":
        # CMYK pictures come as RGB with black in the place of alpha.
        return layout.with_alpha(False)
    if frame.format.has_palette:
        return layout.with_alpha(_palette_has_alpha(frame))
    return layout


def _palette_has_alpha(frame: VideoFrame) -> bool:
    """Whether a colour of the palette that the picture uses is not opaque."""
    # PyAV's stubs do not say that planes are buffers.
    plane: Any = frame.planes[0]
    colours: Any = frame.planes[1]
    padded = np.frombuffer(plane, np.uint8)
    # FFmpeg pads rows: they may be longer than the picture is wide.
    rows = padded.reshape(frame.height, plane.line_size)
    numbers = np.unique(rows[:, : frame.width])
    palette = np.frombuffer(colours, np.uint32)[:256]
    alphas = palette[numbers] >> 24
    return bool((alphas < 255).any())


def color_tags(frame: VideoFrame, stream: VideoStream | None = None) -> ColorTags:
    """Returns the tags of a frame, completed by its stream's where it has none."""
    context = stream.codec_context if stream is not None else frame
    codes = []
    for name in ("color_primaries", "color_trc", "colorspace"):
        code = int(getattr(frame, name))
        if code in (UNSPECIFIED, RESERVED):
            code = int(getattr(context, name))
        codes.append(code)
    # JPEG's own pixel formats mean the full range without a tag.
    is_jpeg = frame.format.name.startswith("yuvj")
    default = FULL if is_jpeg else 0
    range_code = int(frame.color_range) or int(context.color_range) or default
    return ColorTags(*codes, range=range_code)


def _all_side_data(frame: VideoFrame) -> list[SideData]:
    # Iterating over PyAV's container stops at the first kind it has no name for.
    data = cast(Any, frame.side_data)
    numbers = range(len(data))
    return [cast(SideData, data[number]) for number in numbers]


def _side_data(frame: VideoFrame, name: str) -> bytes | None:
    for data in _all_side_data(frame):
        if data.type.name == name:
            return bytes(data)
    return None


def inside_pictures(frame: VideoFrame) -> list[str]:
    """Returns side data that is lost with the coded pictures, in words."""
    # Each of them once, in order: Dolby Vision comes as two kinds.
    words: dict[str, None] = {}
    for data in _all_side_data(frame):
        name = LOST_IN_PIXELS.get(data.type.name)
        if name is not None:
            words[f"{name} inside the pictures"] = None
    return list(words)


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """Returns the 3x3 matrix by which players turn and mirror the picture.

    Its numbers are 16.16 fixed point, those of the last column 2.30.
    """
    data = _side_data(frame, "DISPLAYMATRIX")
    return struct.unpack("=9i", data) if data else None


def hdr_metadata(frame: VideoFrame) -> HDRMetadata | None:
    """Returns mastering display and light levels, read from FFmpeg's structs."""
    mastering = _side_data(frame, "MASTERING_DISPLAY_METADATA")
    light = _side_data(frame, "CONTENT_LIGHT_LEVEL")
    if mastering is None and light is None:
        return None
    primaries = ()
    white = None
    luminance = None
    if mastering:
        # Ten fractions: x and y of red, green, blue and white, the least and the most
        # luminance. Then two flags. Newer versions of FFmpeg may append to the struct.
        *numbers, has_primaries, has_luminance = struct.unpack("=20i2i", mastering[:88])
        values = _fractions(numbers)
        if has_primaries:
            points = zip(values[:8:2], values[1:8:2], strict=True)
            red, green, blue, white = points
            primaries = (red, green, blue)
        if has_luminance:
            luminance = (values[8], values[9])
    max_cll, max_fall = 0, 0
    if light:
        max_cll, max_fall = struct.unpack("=2I", light[:8])
    return HDRMetadata(primaries, white, luminance, max_cll, max_fall)


def _fractions(numbers: Sequence[int]) -> list[Fraction]:
    numerators, divisors = numbers[::2], numbers[1::2]
    pairs = zip(numerators, divisors, strict=True)
    # 0/0 stands for a value that nobody wrote.
    return [Fraction(number, divisor or 1) for number, divisor in pairs]
