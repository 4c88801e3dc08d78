"""Everything about the video stream to be encoded, for files and streams alike."""

import os
from dataclasses import dataclass
from fractions import Fraction

from av.video.format import VideoFormat

from infer.code_points import FULL, LIMITED, RGB_MATRIX, UNSPECIFIED
from infer.sinks.encoders import (
    ENCODERS,
    HUGE,
    Encoder,
    choose_pixel_format,
    find_encoder,
)
from infer.sources.info import ColorTags, HDRMetadata, VideoInfo, guessed_matrix
from infer.sources.probe import pixel_layout

# More make encoders cut the picture into pieces that know too little of each other.
MAX_THREADS = 16
# H.264 writes both numbers of a pixel aspect ratio with 16 bits.
LARGEST_ASPECT = 65535


@dataclass(frozen=True)
class VideoSpec:
    """Everything about the video stream to be encoded.

    matrix: of the samples, also where the tag is not said.
    """

    encoder: str
    pixel_format: str
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    color: ColorTags
    matrix: int
    sar: Fraction | None = None
    crf: int | None = None
    preset: str | None = None
    hdr: HDRMetadata | None = None
    threads: int = 0

    @property
    def deep(self) -> bool:
        """More than 8 bits."""
        return pixel_layout(VideoFormat(self.pixel_format)).is_deep

    @property
    def has_alpha(self) -> bool:
        """Whether pictures are encoded with an alpha channel."""
        return pixel_layout(VideoFormat(self.pixel_format)).has_alpha

    @property
    def is_huge(self) -> bool:
        """Encoders get their lean settings."""
        return self.width * self.height > HUGE

    @property
    def memory(self) -> int:
        """Bytes that encoding takes."""
        encoder = ENCODERS[self.encoder]
        is_lean = self.is_huge and encoder.lean_memory
        per_pixel = encoder.lean_memory if is_lean else encoder.memory
        num_pixels = self.width * self.height
        return per_pixel * num_pixels

    @property
    def live_memory(self) -> int:
        """Bytes that encoding takes when no frame is held back, as by the lean
        settings.
        """
        encoder = ENCODERS.get(self.encoder)
        if encoder is None:
            # Uncompressed frames: nothing looks ahead at them.
            return 0
        per_pixel = encoder.lean_memory or encoder.memory
        num_pixels = self.width * self.height
        return per_pixel * num_pixels


@dataclass(frozen=True)
class Wish:
    """The user's wishes; None leaves a choice to the source or the codec."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None


def encoder_spec(
    info: VideoInfo,
    size: tuple[int, int],
    wish: Wish,
    presets: dict[str, str] | None = None,
) -> VideoSpec:
    """How frames of ``size`` are encoded.

    presets: by encoder, where the wish names none. ValueError for settings that the
    encoder does not have.
    """
    encoder = find_encoder(wish.codec, info.layout)
    _check_wish(encoder, wish)
    width, height = size
    guess = guessed_matrix(height)
    matrix = guess if info.color.matrix == RGB_MATRIX else info.matrix
    presets = presets or {}
    return VideoSpec(
        encoder=encoder.name,
        pixel_format=choose_pixel_format(encoder, info.layout, size),
        width=width,
        height=height,
        time_base=info.time_base,
        rate=info.rate,
        color=written_tags(info.color, matrix, guess, encoder),
        matrix=matrix,
        sar=pixel_aspect(info, size),
        crf=wish.crf,
        preset=wish.preset or presets.get(encoder.name),
        hdr=info.hdr,
        threads=min(MAX_THREADS, os.cpu_count() or 1),
    )


def _check_wish(encoder: Encoder, wish: Wish) -> None:
    name = encoder.name
    crf, preset = wish.crf, wish.preset
    if crf is not None and not encoder.quality:
        raise ValueError(f"--crf {crf}: {name} has no such setting")
    if crf is not None and crf > encoder.max_crf:
        raise ValueError(f"--crf {crf}: {name} goes from 0 to {encoder.max_crf}")
    if preset == "":
        raise ValueError("--preset: expected a name")
    if preset is not None and not encoder.preset:
        raise ValueError(f"--preset {preset}: {name} has no presets")


def pixel_aspect(info: VideoInfo, size: tuple[int, int]) -> Fraction | None:
    """The pixel aspect ratio that keeps the shape of the picture on screen."""
    width, height = info.stored_size
    new_width, new_height = size
    stretch = Fraction(width * new_height, height * new_width)
    if stretch == 1:
        return info.sar
    aspect = (info.sar or Fraction(1)) * stretch
    aspect = aspect.limit_denominator(LARGEST_ASPECT)
    # FFmpeg counts in 32 bits, and a very small ratio is rounded to 0.
    return aspect if 0 < aspect.numerator < 2**31 else None


def written_tags(
    color: ColorTags, matrix: int, guess: int, encoder: Encoder
) -> ColorTags:
    """Tags for the output: as they were, except where silence would be misread.

    matrix: of the samples; guess: the one that players assume at the output's size.
    Players guess the matrix of untagged video by its size: if the bigger output would
    be guessed differently, the matrix is written out. RGB sources become limited-range
    YUV and say so.
    """
    is_rgb = color.matrix == RGB_MATRIX
    is_misread = color.matrix == UNSPECIFIED and guess != matrix
    tag = matrix if is_rgb or is_misread else color.matrix
    holds_range = encoder.full_range or color.range != FULL
    tag_range = LIMITED if is_rgb or not holds_range else color.range
    return ColorTags(color.primaries, color.transfer, tag, tag_range)
