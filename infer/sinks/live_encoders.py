"""Encoder settings for streams: no frame is held back."""

from fractions import Fraction

from av.codec.context import Flags
from av.container import OutputContainer
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from infer.code_points import FULL, LIMITED, RGB_MATRIX
from infer.sinks.encoder_setup import add_encoder
from infer.sinks.encoder_spec import VideoSpec, Wish, encoder_spec, pixel_aspect
from infer.sinks.encoders import DEPTHS, yuv_format
from infer.sources.address import Target
from infer.sources.info import ColorTags, PixelLayout, VideoInfo, guessed_matrix

PRESETS = {
    "libx264": "veryfast",
    "libx265": "veryfast",
    "libsvtav1": "10",
    "h264_nvenc": "p3",
    "hevc_nvenc": "p3",
    "av1_nvenc": "p3",
}
_NVENC = {"tune": "ull", "zerolatency": "1", "delay": "0"}
LOW_DELAY = {
    "libx264": {"tune": "zerolatency"},
    "libx265": {"tune": "zerolatency"},
    # 1: low delay, where no picture waits for later ones.
    "libsvtav1": {"svtav1-params": "pred-struct=1"},
    "libvpx-vp9": {"deadline": "realtime", "lag-in-frames": "0", "cpu-used": "8"},
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
}
_MPEG_TS = ("libx264", "libx265", "h264_nvenc", "hevc_nvenc")
# Encoders whose streams these containers carry; the others take what their muxer
# accepts.
CARRIED = {"mpegts": _MPEG_TS, "hls": _MPEG_TS}
# A viewer who joins waits so long for a picture at most.
KEYFRAME_SECONDS = 2


def live_spec(
    wish: Wish, info: VideoInfo, target: Target, size: tuple[int, int]
) -> VideoSpec:
    """How the output is encoded; y4m and raw frames are not encoded at all."""
    if not target.has_clock:
        return _uncompressed(info, target, size)
    spec = encoder_spec(info, size, wish, PRESETS)
    encoders = CARRIED.get(target.muxer, (spec.encoder,))
    if spec.encoder not in encoders:
        names = " or ".join(encoders)
        raise ValueError(f"--codec {spec.encoder}: {target.muxer} holds {names}")
    return spec


def _uncompressed(info: VideoInfo, target: Target, size: tuple[int, int]) -> VideoSpec:
    if target.muxer == "rawvideo":
        pixel_format = "rgb48le" if info.layout.is_deep else "rgb24"
        matrix = RGB_MATRIX
        color = ColorTags(matrix=RGB_MATRIX, range=FULL)
    else:
        pixel_format = _y4m_format(info.layout)
        # y4m has no tag for the matrix, so it is the one that readers assume at this
        # size.
        matrix = guessed_matrix(size[1])
        is_rgb = info.color.matrix == RGB_MATRIX
        color = ColorTags(range=LIMITED if is_rgb else info.color.range or LIMITED)
    return VideoSpec(
        encoder="rawvideo",
        pixel_format=pixel_format,
        width=size[0],
        height=size[1],
        time_base=1 / info.rate,
        rate=info.rate,
        color=color,
        matrix=matrix,
        sar=pixel_aspect(info, size),
    )


def _y4m_format(layout: PixelLayout) -> str:
    bits = min(layout.bits, DEPTHS[-1])
    depth = next(depth for depth in DEPTHS if depth >= bits)
    chroma = {"rgb": "444", "gray": "444"}.get(layout.chroma, layout.chroma)
    return yuv_format(chroma, depth)


def add_live_encoder(
    output: OutputContainer, spec: VideoSpec, target: Target
) -> VideoStream:
    """A stream of ``output`` that gives a packet for every frame at once."""
    if spec.encoder == "rawvideo":
        return _add_uncompressed(output, spec)
    group = max(1, round(KEYFRAME_SECONDS * spec.rate))
    stream = add_encoder(output, spec, group)
    context = stream.codec_context
    context.options = {**context.options, **LOW_DELAY.get(spec.encoder, {})}
    context.max_b_frames = 0
    if target.muxer in CARRIED:
        # Parameter sets in the stream, so that viewers can join anywhere.
        context.flags &= ~Flags.global_header
    return stream


def _add_uncompressed(output: OutputContainer, spec: VideoSpec) -> VideoStream:
    stream = output.add_stream("rawvideo", rate=spec.rate)
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.width = spec.width
    context.height = spec.height
    context.pix_fmt = spec.pixel_format
    context.time_base = spec.time_base
    context.color_range = spec.color.range
    context.sample_aspect_ratio = spec.sar or Fraction(0)
    # Where `FromRGB` puts chroma; unsaid, the header of y4m would name the middle.
    context.options = {"chroma_sample_location": "left"}
    return stream


def describe_encoder(spec: VideoSpec) -> str:
    """For the user."""
    bits = VideoFormat(spec.pixel_format).components[0].bits
    name = "uncompressed"
    if spec.encoder != "rawvideo":
        name = f"{spec.encoder}, {spec.preset or 'no preset'}"
    return f"{name}, {spec.pixel_format}, {bits} bit"
