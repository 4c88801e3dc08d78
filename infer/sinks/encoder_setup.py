"""Encoders set up in FFmpeg: sizes, clocks, quality, colours and HDR metadata."""

from fractions import Fraction

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.encoders import ENCODERS, Encoder
from infer.sources.info import HDRMetadata
from infer.sources.probe import reason

# Steps per 1 of a chromaticity and per cd/m2, as the messages in H.264 and H.265 count
# them.
CHROMATICITY_STEPS = 50_000
LUMINANCE_STEPS = 10_000


def configure(context: VideoCodecContext, spec: VideoSpec, group: int) -> None:
    """Sets up an encoder for closed groups of at most ``group`` frames.

    It is opened by its first use. ValueError for sizes at which it would fail.
    """
    _require_size(spec)
    context.width = spec.width
    context.height = spec.height
    context.pix_fmt = spec.pixel_format
    context.time_base = spec.time_base
    context.framerate = spec.rate
    context.gop_size = max(group, 1)
    context.thread_count = spec.threads
    # mp4, mov and Matroska want the parameter sets in their header.
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
    context.color_primaries = spec.color.primaries
    context.color_trc = spec.color.transfer
    context.colorspace = spec.color.matrix
    context.color_range = spec.color.range


def try_encoder(spec: VideoSpec) -> None:
    """Opens the encoder once before the job; a ValueError says why it refuses."""
    context = VideoCodecContext.create(spec.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    configure(context, spec, 1)
    try:
        context.open()
    except (av.FFmpegError, ValueError) as error:
        raise _refusal(spec, reason(error)) from None


def _require_size(spec: VideoSpec) -> None:
    width, height = ENCODERS[spec.encoder].least
    if spec.width < width or spec.height < height:
        raise _refusal(spec, f"it fails below {width}x{height}")


def _refusal(spec: VideoSpec, why: str) -> ValueError:
    picture = f"{spec.width}x{spec.height} {spec.pixel_format}"
    return ValueError(
        f"{spec.encoder} cannot encode {picture} ({why}): try another --codec or size"
    )


def encoder_options(encoder: Encoder, spec: VideoSpec) -> dict[str, str]:
    """Options as FFmpeg takes them."""
    options = dict(encoder.options)
    if encoder.quality:
        quality = encoder.crf if spec.crf is None else spec.crf
        options[encoder.quality] = str(quality)
    if preset := spec.preset or encoder.preset:
        options["preset"] = preset
    if encoder.name == "prores_ks":
        options["profile"] = "4444" if "444" in spec.pixel_format else "hq"
    settings = _own_settings(encoder, spec)
    if settings:
        options[encoder.params] = ":".join(settings)
    if encoder.name == "libsvtav1" and spec.hdr:
        options["svtav1-params"] = ":".join(_svt_hdr(spec.hdr))
    return options


def _own_settings(encoder: Encoder, spec: VideoSpec) -> list[str]:
    """Settings in the language of x264 and x265."""
    if not encoder.params:
        return []
    settings = []
    if encoder.name == "libx265":
        # Segments are joined by copying packets, and x265 opens groups by default.
        settings += ["log-level=error", "open-gop=0"]
    settings += _x26x_hdr(spec)
    if spec.is_huge:
        settings.append(encoder.lean)
    return settings


def _x26x_hdr(spec: VideoSpec) -> list[str]:
    hdr = spec.hdr
    if hdr is None:
        return []
    is_x265 = spec.encoder == "libx265"
    settings = []
    if hdr.primaries and hdr.white and hdr.luminance:
        display = ""
        for point, (x, y) in _points(hdr):
            across = round(x * CHROMATICITY_STEPS)
            up = round(y * CHROMATICITY_STEPS)
            display += f"{point}({across},{up})"
        low, high = (round(level * LUMINANCE_STEPS) for level in hdr.luminance)
        name = "master-display" if is_x265 else "mastering-display"
        settings.append(f"{name}={display}L({high},{low})")
    if hdr.max_cll or hdr.max_fall:
        name = "max-cll" if is_x265 else "cll"
        levels = f"{hdr.max_cll},{hdr.max_fall}"
        settings.append(f"{name}={levels}")
    return settings


def _svt_hdr(hdr: HDRMetadata) -> list[str]:
    settings = []
    if hdr.primaries and hdr.white and hdr.luminance:
        display = ""
        for point, (x, y) in _points(hdr):
            display += f"{point}({float(x):.5f},{float(y):.5f})"
        low, high = (float(level) for level in hdr.luminance)
        luminance = f"L({high:.4f},{low:.4f})"
        settings.append(f"mastering-display={display}{luminance}")
    if hdr.max_cll or hdr.max_fall:
        levels = f"{hdr.max_cll},{hdr.max_fall}"
        settings.append(f"content-light={levels}")
    return settings


def _points(hdr: HDRMetadata) -> list[tuple[str, tuple[Fraction, Fraction]]]:
    """Chromaticities by the names that encoders give them, in their order."""
    assert hdr.white is not None
    red, green, blue = hdr.primaries
    return [("G", green), ("B", blue), ("R", red), ("WP", hdr.white)]
