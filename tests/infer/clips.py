"""Small videos made on the spot by FFmpeg's own sources and encoders."""

import io
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from infer.sinks.encoder_spec import VideoSpec
from infer.sources.info import ColorTags

ROOT = Path(__file__).parents[2]
SCENE_SIZE = (24, 16)


def pictures(
    count: int, width: int, height: int, source: str = "testsrc2"
) -> Iterator[np.ndarray]:
    """uint8 RGB frames [h, w, 3] of a lavfi source."""
    graph = av.filter.Graph()
    size = f"{max(width, 2)}x{max(height, 2)}"
    first = graph.add(
        source,
        f"size={size}:rate=25" if source != "gradients" else f"s={size}:r=25:seed=1",
    )
    nodes = [
        first,
        graph.add("scale", f"{width}:{height}"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes)
    graph.configure()
    for _ in range(count):
        yield graph.pull().to_ndarray()


def real_pictures(count: int, width: int, height: int) -> list[np.ndarray]:
    """The first frames of the clip that comes with the package, reduced."""
    with av.open(str(ROOT / "examples" / "nasa_320x180.mp4")) as container:
        frames = itertools.islice(container.decode(video=0), count)
        return [f.reformat(width, height, "rgb24").to_ndarray() for f in frames]


def make_video(
    path: str,
    pts: Sequence[int] = tuple(range(6)),
    size: tuple[int, int] = (32, 24),
    base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    color: ColorTags | None = None,
    sar: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    audio: str | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    chapters: Sequence[tuple[float, float, str]] = (),
    muxer: str | None = None,
    frames: Sequence[np.ndarray] | None = None,
) -> str:
    """Write a clip whose frames are shown at ``pts`` ticks of ``base``; returns its
    path.

    frames: uint8 RGB arrays of that size; by default a test picture.
    """
    with av.open(path, "w", format=muxer) as output:
        output.metadata.update(metadata or {})
        video = output.add_stream(
            # The fastest preset: hundreds of these are made in a run.
            codec,
            rate=25,
            options={"preset": "ultrafast"} if "x26" in codec else {},
        )
        video.options = {**video.options, **(options or {})}
        video.width, video.height, video.pix_fmt, video.codec_context.time_base = (
            *size,
            pixel_format,
            base,
        )
        if color:
            context = video.codec_context
            context.color_primaries = color.primaries
            context.color_trc = color.transfer
            context.colorspace = color.matrix
            context.color_range = color.range
        if sar:
            video.codec_context.sample_aspect_ratio = sar
        # Before the header is written; afterwards it would be lost.
        video.set_display_matrix(matrix)
        # The least rate that all these codecs take.
        sound = output.add_stream(audio, rate=8000) if audio else None
        output.set_chapters(
            [
                {
                    "id": i,
                    "start": round(a * 1000),
                    "end": round(b * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for i, (a, b, title) in enumerate(chapters)
            ]
        )
        for time, rgb in zip(pts, frames or pictures(len(pts), *size), strict=True):
            frame = av.VideoFrame.from_ndarray(rgb)
            frame.pts = time
            frame.time_base = base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound is not None:
            for frame in tone(sound.codec_context, len(pts)):
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
    return path


def scenes(*lengths: int) -> list[np.ndarray]:
    """Scenes of slowly changing noise, cut hard."""
    rng = np.random.default_rng(len(lengths))
    frames = []
    for length in lengths:
        # Noise: flow finds nothing of one scene in another, so that a cut is a cut.
        scene = rng.integers(0, 256, (*SCENE_SIZE[::-1], 3))
        # At most two levels a frame: a scene stays the same to the eye and to the
        # model.
        drift = rng.integers(-2, 3, scene.shape)
        for number in range(length):
            picture = np.clip(scene + number * drift, 0, 255)
            frames.append(picture.astype(np.uint8))
    return frames


def clip_of(path: Path, frames: list[np.ndarray], **how: Any) -> str:
    """A lossless clip of such frames; returns its path."""
    # Lossless, and no conversion of colours: what is read is what was written.
    settings = {"codec": "ffv1", "pixel_format": "bgr0", **how}
    return make_video(
        str(path), range(len(frames)), SCENE_SIZE, frames=frames, **settings
    )


def make_rich(path: str, covers: bool = True) -> str:
    """A Matroska file that says all it can: sound, subtitle, font, cover, chapters,
    time code, roles, words.
    """
    words = io.BytesIO(b"1\n00:00:00,000 --> 00:00:00,200\nhello\n\n")
    with (
        av.open(path, "w", format="matroska") as output,
        av.open(words, format="srt") as text,
    ):
        output.metadata.update(
            {
                "title": "a b",
                "ARTIST": "me",
                "MY KEY": "own",
                "LOCATION": "+40.680-074.500/",
            }
        )
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        video.metadata.update(
            {"language": "ger", "title": "view", "timecode": "01:00:00:00"}
        )
        video.disposition = Disposition.default | Disposition.original
        sound = output.add_stream("aac", rate=8000)
        sound.metadata.update({"language": "eng", "title": "commentary"})
        sound.disposition = Disposition.comment
        subtitle = output.add_stream_from_template(text.streams[0])
        subtitle.metadata.update({"language": "pt-BR", "title": "some"})
        subtitle.disposition = Disposition.forced
        if covers:
            output.add_attachment(
                "font.ttf", "application/x-truetype-font", b"not really a font"
            )
            output.add_attachment("cover.png", "image/png", png())
        output.set_chapters(
            [
                {
                    "id": i,
                    "start": 200 * i,
                    "end": 200 * i + 200,
                    "time_base": Fraction(1, 1000),
                    "metadata": words,
                }
                for i, words in enumerate(
                    ({"title": "one", "artist": "she"}, {"title": "two"})
                )
            ]
        )
        for rgb in pictures(10, 64, 48):
            frame = av.VideoFrame.from_ndarray(rgb)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for frame in tone(sound.codec_context, 5):
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
        for packet in text.demux():
            if packet.size:
                packet.stream = subtitle
                output.mux(packet)
    return path


def png() -> bytes:
    """A small picture."""
    context = av.CodecContext.create("png", "w")
    context.width = 16
    context.height = 16
    context.pix_fmt = "rgb24"
    context.time_base = Fraction(1, 25)
    return bytes(
        context.encode(av.VideoFrame.from_ndarray(next(pictures(1, 16, 16))))[0]
    )


def tone(context: av.AudioCodecContext, blocks: int) -> Iterator[av.AudioFrame]:
    """A rising tone, mono."""
    for number in range(max(3, blocks)):
        # Another pitch for every block, or packets would be equal bytes.
        samples = 0.3 * np.sin(np.arange(1024) * (0.05 + 0.01 * number))
        frame = av.AudioFrame.from_ndarray(
            samples[None].astype(np.float32), format="fltp", layout="mono"
        )
        frame.rate = 8000
        frame.pts = number * 1024
        yield from av.AudioResampler(context.format, "mono", 8000).resample(frame)


def spec_for(
    size: tuple[int, int], base: Fraction = Fraction(1, 25), **changes: object
) -> VideoSpec:
    """An encoder setting for tests: fast H.264."""
    values = {
        "encoder": "libx264",
        "pixel_format": "yuv420p",
        "width": size[0],
        "height": size[1],
        "time_base": base,
        "rate": Fraction(25),
        "color": ColorTags(),
        "matrix": 6,
        "preset": "ultrafast",
        "threads": 1,
    }
    return VideoSpec(**{**values, **changes})  # type: ignore[arg-type]


@contextmanager
def stopped_before(ending: str) -> Iterator[None]:
    """A job in this process is interrupted before a file gets a name that ends so."""
    real = os.replace

    def replace(old: object, new: object) -> None:
        if str(new).endswith(ending):
            raise KeyboardInterrupt
        real(old, new)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        yield
