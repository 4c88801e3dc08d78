"""Everything that is decided before the work starts, so that a job either begins well
or says why not.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from infer.errors import JobError
from infer.jobs.notes import encoder_notes, image_notes, sound_notes, source_notes
from infer.jobs.work_folder import is_published
from infer.options import Options, limits_of, parse_size, rate_of
from infer.sinks.containers import (
    COPY,
    SUFFIXES,
    Packaging,
    muxer_of,
    natural_muxer,
    takes_encoded,
    unsupported_streams,
    way_into,
)
from infer.sinks.dry_run import choose_packaging
from infer.sinks.encoder_setup import try_encoder
from infer.sinks.encoder_spec import VideoSpec, Wish, encoder_spec
from infer.sinks.mux import ALPHA_BESIDE
from infer.sinks.output_files import check_segments
from infer.sinks.sound_encoder import AAC
from infer.sources.fields import with_fields
from infer.sources.info import StreamInfo, VideoInfo, reduced
from infer.sources.probe import for_pictures, probe, probe_images
from infer.targets import check_replaceable

# The one kind of picture that is written.
PICTURE = ".png"
# Bytes of a picture in memory that FFmpeg can count.
LARGEST_IMAGE = 2**31 - 1
# Of a deep picture while it is encoded.
PIXEL_BYTES = 8


@dataclass(frozen=True)
class Plan:
    """A job.

    spec: None for PNG frames. notes: said to the user before the start. place: where
    the output is put, if its final name is not given to it yet. cut_at: frames of the
    source at which the stream forgets all before.
    """

    info: VideoInfo
    output: str
    size: tuple[int, int]
    start: int
    count: int | None
    deinterlace: bool
    group: int
    notes: tuple[str, ...]
    spec: VideoSpec | None = None
    package: Packaging | None = None
    place: str = ""
    cut_at: tuple[int, ...] = ()

    @property
    def target(self) -> str:
        """The name under which the job leaves its output."""
        return self.place or self.output

    @property
    def expected_frames(self) -> int | None:
        """How many frames will probably come out."""
        total = self.info.num_frames
        if total is None:
            return self.count
        remaining = max(0, total - self.start)
        return remaining if self.count is None else min(remaining, self.count)

    @property
    def keeps_alpha(self) -> bool:
        """Whether the output has the source's alpha channel."""
        if self.spec is not None:
            return self.spec.has_alpha
        return self.info.layout.has_alpha

    @property
    def is_part(self) -> bool:
        """Whether only some frames of the source are asked for."""
        return self.start > 0 or self.count is not None

    def described(self) -> dict[str, Any]:
        """Everything that decides the bytes of the output, for the check before going
        on with earlier work.
        """
        facts: dict[str, Any] = {}
        if self.spec is not None:
            facts = {name: str(value) for name, value in asdict(self.spec).items()}
        facts |= {
            "size": f"{self.size[0]}x{self.size[1]}",
            "start": self.start,
            "frames": self.count,
            "deinterlace": self.deinterlace,
            "segment": self.group,
            "container": self.package.muxer if self.package else "",
            "streams": list(self.package.streams) if self.package else [],
        }
        if self.spec is None and self.keeps_alpha:
            facts["alpha"] = True
        if self.info.reduced_from is not None:
            # Only where it is asked for: unfinished work from before the option goes
            # on.
            facts["reduced_to"] = f"{self.info.width}x{self.info.height}"
        if self.cut_at:
            facts["cut_at"] = list(self.cut_at)
        if self.package and self.package.sound:
            facts["sound"] = [list(way) for way in self.package.sound]
        return facts


def make_plan(
    options: Options,
    path: str,
    output: str | None = None,
    info: VideoInfo | None = None,
    owner: str | None = None,
) -> Plan:
    """Looks at the source, where ``info`` is not known yet, and settles the output.

    owner: the output whose work folder counts, where this one is a part of it. Raises
    ValueError for mistakes on the command line, JobError for bad files.
    """
    is_run = info is not None
    info = info or probe(path, options.stream, rate_of(options), limits_of(options))
    _check_part(options, info)
    field_notes: list[str] = []
    if options.deinterlace:
        info, field_notes = with_fields(info)
    if options.start:
        info = _without_time_code(info)
    output = output or default_output(reduced(info, options.prescale), options)
    if _holds_images(output) and not is_run:
        info = for_pictures(info)
    info = reduced(info, options.prescale)
    if is_picture_name(output):
        _require_one_frame(output, info, options)
        info = _as_pictures(options, info)
    check_target(output, path, options.overwrite, owner)
    common = {
        "info": info,
        "output": output,
        "start": options.start,
        "count": options.frames,
        "deinterlace": options.deinterlace,
        "group": options.segment,
        "cut_at": tuple(sorted(set(options.cut_at))),
    }
    if _holds_images(output):
        size = output_size(options, info)
        _check_image(output, size)
        notes = (
            *field_notes,
            *source_notes(info, options.deinterlace, size, True),
            *image_notes(info),
        )
        return Plan(**common, size=size, notes=notes)
    muxer = muxer_of(output)
    ways = _ways_into(info, muxer, options)
    size = stored_size(options, info)
    spec = _spec_for(info, size, options, muxer)
    _try_encoder(spec)
    sound = tuple((index, way) for index, way in ways.items() if way != COPY)
    matrix = _display_matrix(info, size)
    packaging = Packaging(muxer, tuple(ways), matrix, sound=sound)
    packaging, losses = choose_packaging(info, spec, packaging)
    notes = (
        *field_notes,
        *source_notes(info, options.deinterlace, size, spec.has_alpha),
        *encoder_notes(spec, info),
        *losses,
        *sound_notes(info, ways, muxer),
    )
    return Plan(**common, size=size, notes=notes, spec=spec, package=packaging)


def _try_encoder(spec: VideoSpec) -> None:
    """Raises ValueError if the encoder refuses, or does not know the preset."""
    try:
        try_encoder(spec)
    except ValueError:
        if spec.preset is None:
            raise
        # Only if it would work otherwise is it the preset's fault.
        try_encoder(replace(spec, preset=None))
        raise ValueError(
            f"--preset {spec.preset}: {spec.encoder} does not know it"
        ) from None


def _spec_for(
    info: VideoInfo, size: tuple[int, int], options: Options, muxer: str
) -> VideoSpec:
    """The encoding, without an alpha channel that the container would lose."""
    spec = encoder_spec(info, size, wish_of(options))
    if spec.has_alpha and spec.encoder in ALPHA_BESIDE and muxer != "matroska":
        opaque = replace(info, layout=info.layout.with_alpha(False))
        return encoder_spec(opaque, size, wish_of(options))
    return spec


def wish_of(options: Options) -> Wish:
    """The options about the encoder."""
    return Wish(options.codec, options.crf, options.preset)


def _check_part(options: Options, info: VideoInfo) -> None:
    path, total = info.path, info.num_frames
    if total is not None and options.start >= total:
        raise ValueError(f"--start {options.start}: {path} has {total} frames")
    if options.fps is not None and not info.files:
        raise ValueError(
            f"--fps {options.fps}: {path} has a clock of its own; --fps is for folders "
            "of images and for raw pictures"
        )


def default_output(info: VideoInfo, options: Options, folder: str | None = None) -> str:
    """Beside the source, or in ``folder``: in.mp4 -> in_x4.mp4, a folder of frames ->
    frames_x4, a picture -> picture_x4.png.
    """
    path = info.path.rstrip("/\\")
    stem = path if info.files else os.path.splitext(path)[0]
    if folder is not None:
        stem = os.path.join(folder, os.path.basename(stem))
    size = f"x{options.scale * options.prescale:g}"
    if options.size:
        size = options.size.lower()
    name = f"{stem}_{size}"
    if info.files:
        return name
    if info.is_picture:
        return name + PICTURE
    spec = encoder_spec(info, stored_size(options, info), wish_of(options))
    return name + SUFFIXES[natural_muxer(info, spec)]


def is_picture_name(output: str) -> bool:
    """Whether the output is one PNG file."""
    return output.lower().endswith(PICTURE)


def _holds_images(output: str) -> bool:
    return _is_folder(output) or is_picture_name(output)


def _as_pictures(options: Options, info: VideoInfo) -> VideoInfo:
    """A picture as a folder of one, so that it comes out upright."""
    if not info.is_picture:
        return info
    upright = probe_images(info.path, [info.path], rate_of(options), info.limits)
    return reduced(for_pictures(upright), options.prescale)


def _require_one_frame(output: str, info: VideoInfo, options: Options) -> None:
    if not info.is_picture and 1 not in (options.frames, info.num_frames):
        raise ValueError(
            f"{output}: holds one picture, and {info.path} may have more: give a "
            "folder name for PNG frames, or --frames 1"
        )


def _check_image(output: str, size: tuple[int, int]) -> None:
    if size[0] * size[1] * PIXEL_BYTES > LARGEST_IMAGE:
        raise ValueError(
            f"{output}: PNG files of {size[0]}x{size[1]} pixels cannot be written; "
            "try a smaller --scale or --size"
        )


def check_target(
    output: str, path: str, overwrite: bool, owner: str | None = None
) -> None:
    """The output may be written: its folder is there, and nothing is destroyed unasked.

    owner: the output whose work folder counts, where this one is a part of it.
    """
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        name = os.path.basename(output)
        raise ValueError(f"{folder}: no such folder, expected one to write {name} into")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JobError(f"{folder}: cannot write there (permission denied)")
    if _is_same(output, path):
        raise ValueError(f"{output}: is the input itself; choose another --output")
    if output.endswith(".m3u8"):
        check_segments(output, overwrite)
    if is_published(owner or output):
        return
    if not os.path.isdir(output):
        check_replaceable(output, overwrite)
        return
    if not _is_folder(output):
        raise ValueError(f"{output}: is a folder, expected a file name")
    if os.listdir(output) and not overwrite:
        raise ValueError(
            f"{output}: already exists; give --overwrite to replace its files or "
            "another --output"
        )


def _is_same(output: str, path: str) -> bool:
    if not (os.path.exists(output) and os.path.exists(path)):
        return False
    return os.path.samefile(output, path)


def _is_folder(output: str) -> bool:
    return os.path.splitext(output.rstrip("/\\"))[1] == ""


def output_size(options: Options, info: VideoInfo) -> tuple[int, int]:
    """(width, height) as asked, of a picture that nothing turns any more."""
    if options.size:
        return parse_size(options.size)
    return info.width * options.scale, info.height * options.scale


def stored_size(options: Options, info: VideoInfo) -> tuple[int, int]:
    """(width, height) of the pictures in a file; --size is that on the screen, after
    players have turned them.
    """
    width, height = output_size(options, info)
    if options.size and info.is_sideways:
        return height, width
    return width, height


def _ways_into(info: VideoInfo, muxer: str, options: Options) -> dict[int, str]:
    """How each of the other streams gets into the container, by index.

    ValueError if one cannot, and the options give no advice.
    """
    ways: dict[int, str] = {}
    unsupported = []
    for stream in info.others:
        way = way_into(muxer, info, stream)
        if way is None and options.encode_audio and _can_be_aac(info, muxer, stream):
            way = AAC
        if way is None:
            unsupported.append(stream)
        else:
            ways[stream.index] = way
    if unsupported and not options.drop_streams:
        able = [m for m in SUFFIXES if m != muxer and not unsupported_streams(info, m)]
        advice = [f"use {' or '.join(SUFFIXES[m] for m in able)}, or "] if able else []
        if any(_can_be_aac(info, muxer, stream) for stream in unsupported):
            advice.append("--encode-audio (its sound becomes AAC), or ")
        names = ", ".join(map(str, unsupported))
        raise ValueError(
            f"{info.path}: {SUFFIXES[muxer]} cannot hold {names}: {''.join(advice)}"
            "--drop-streams to leave it out"
        )
    return ways


def _can_be_aac(info: VideoInfo, muxer: str, stream: StreamInfo) -> bool:
    if stream.kind != "audio":
        return False
    return takes_encoded(muxer, info.path, stream, info.limits, AAC)


def _display_matrix(info: VideoInfo, size: tuple[int, int]) -> tuple[int, ...] | None:
    """The source's, its shift scaled to the bigger picture."""
    matrix = info.display_matrix
    if matrix is None:
        return None
    width, height = info.stored_size
    across, down = size[0] / width, size[1] / height
    shift = _as_int32(matrix[6] * across), _as_int32(matrix[7] * down)
    return (*matrix[:6], *shift, matrix[8])


def _as_int32(value: float) -> int:
    return min(max(round(value), -(2**31)), 2**31 - 1)


def _without_time_code(info: VideoInfo) -> VideoInfo:
    """The time code is that of the first frame, which is left out."""
    words = _without(info.stream_metadata, "timecode")
    file_words = _without(info.metadata, "timecode")
    if (words, file_words) == (info.stream_metadata, info.metadata):
        return info
    why = "the time code: it is that of the first frame, which is left out"
    return replace(
        info,
        stream_metadata=words,
        metadata=file_words,
        left_out=(*info.left_out, why),
    )


def _without(words: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in words.items() if name.lower() != key}
