"""Encoder settings for streams: no frame is held back."""

import os
from fractions import Fraction

from av.codec.context import Flags
from av.container import OutputContainer
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from infer.command.options import Options
from infer.jobs.plan import pixel_aspect
from infer.sinks.encoders import (
    VideoSpec,
    add_encoder,
    choose_pixel_format,
    find_encoder,
    written_tags,
)
from infer.sources.address import Target
from infer.sources.info import RGB_MATRIX, ColorTags, VideoInfo, guessed_matrix

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
    "libsvtav1": {"svtav1-params": "pred-struct=1"},
    "libvpx-vp9": {"deadline": "realtime", "lag-in-frames": "0", "cpu-used": "8"},
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
}
HELD = {
    "mpegts": ("libx264", "libx265", "h264_nvenc", "hevc_nvenc"),
    "hls": ("libx264", "libx265", "h264_nvenc", "hevc_nvenc"),
}
"""Encoders whose streams these containers carry; the others take what their muxer
accepts.
"""
KEYFRAME_SECONDS = 2


def live_spec(
    options: Options, info: VideoInfo, target: Target, size: tuple[int, int]
) -> VideoSpec:
    """How the output is encoded; y4m and raw frames are not encoded at all."""
    guess = guessed_matrix(size[1])
    common = {
        "width": size[0],
        "height": size[1],
        "rate": info.rate,
        "sar": pixel_aspect(info, size),
    }
    if not target.has_clock:
        return _uncompressed(info, target, guess, common)
    encoder = find_encoder(options.codec, info.layout)
    if encoder.name not in HELD.get(target.muxer, (encoder.name,)):
        raise ValueError(
            f"--codec {encoder.name}: {target.muxer} holds {' or '.join(HELD[target.muxer])}"
        )
    matrix = guess if info.color.matrix == RGB_MATRIX else info.matrix
    return VideoSpec(
        encoder=encoder.name,
        pixel_format=choose_pixel_format(encoder, info.layout, size),
        time_base=info.time_base,
        color=written_tags(info.color, matrix, guess, encoder),
        matrix=matrix,
        crf=options.crf,
        preset=options.preset or PRESETS.get(encoder.name),
        hdr=info.hdr,
        threads=min(16, os.cpu_count() or 1),
        **common,
    )


def _uncompressed(
    info: VideoInfo, target: Target, guess: int, common: dict[str, object]
) -> VideoSpec:
    """y4m has no tag for the matrix, so it is the one that readers assume at this size."""
    layout, deep = info.layout, info.layout.is_deep
    if target.muxer == "rawvideo":
        pixel_format, matrix, color = (
            ("rgb48le" if deep else "rgb24"),
            RGB_MATRIX,
            ColorTags(matrix=RGB_MATRIX, range=2),
        )
    else:
        depth = next(d for d in (8, 10, 12, 16) if d >= min(layout.bits, 16))
        chroma = {"rgb": "444", "gray": "444"}.get(layout.chroma, layout.chroma)
        pixel_format = f"yuv{chroma}p" + (f"{depth}le" if depth > 8 else "")
        matrix, color = (
            guess,
            ColorTags(
                range=1 if info.color.matrix == RGB_MATRIX else info.color.range or 1
            ),
        )
    return VideoSpec(
        encoder="rawvideo",
        pixel_format=pixel_format,
        time_base=1 / info.rate,
        color=color,
        matrix=matrix,
        **common,  # type: ignore[arg-type]
    )


def add_live_encoder(
    output: OutputContainer, spec: VideoSpec, target: Target
) -> VideoStream:
    """A stream of ``output`` that gives a packet for every frame at once."""
    if spec.encoder == "rawvideo":
        stream = output.add_stream("rawvideo", rate=spec.rate)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = (
            spec.width,
            spec.height,
            spec.pixel_format,
        )
        context.time_base, context.color_range = spec.time_base, spec.color.range
        context.sample_aspect_ratio = spec.sar or Fraction(0)
        context.options = {"chroma_sample_location": "left"}
        return stream
    stream = add_encoder(output, spec, max(1, round(KEYFRAME_SECONDS * spec.rate)))
    context = stream.codec_context
    context.options = {**context.options, **LOW_DELAY.get(spec.encoder, {})}
    context.max_b_frames = 0
    if target.muxer in ("mpegts", "hls"):
        context.flags &= (
            ~Flags.global_header
        )  # parameter sets in the stream, so that viewers can join anywhere
    return stream


def describe_encoder(spec: VideoSpec) -> str:
    """For the user."""
    bits = VideoFormat(spec.pixel_format).components[0].bits
    name = (
        "uncompressed"
        if spec.encoder == "rawvideo"
        else f"{spec.encoder}, {spec.preset or 'no preset'}"
    )
    return f"{name}, {spec.pixel_format}, {bits} bit"
