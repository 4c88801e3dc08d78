"""Everything that is decided before the work starts, so that a job either begins well
or says why not.
"""

import os
from collections.abc import Mapping, Sequence
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
        if self.count is None:
            return remaining
        return min(remaining, self.count)

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
            spec = asdict(self.spec)
            facts = {name: str(value) for name, value in spec.items()}
        width, height = self.size
        facts |= {
            "size": f"{width}x{height}",
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
    if info is None:
        info = probe(path, options.stream, rate_of(options), limits_of(options))
    _check_part(options, info)
    field_notes: list[str] = []
    if options.deinterlace:
        info, field_notes = with_fields(info)
    if options.start:
        info = _without_time_code(info)
    if not output:
        output = default_output(reduced(info, options.prescale), options)
    # Not for a run of equal size, whose facts are its own: they are asked of all files.
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
    # Before the miniature, which has another size and would blame the container.
    _try_encoder(spec)
    sound = [(index, way) for index, way in ways.items() if way != COPY]
    matrix = _display_matrix(info, size)
    packaging = Packaging(muxer, tuple(ways), matrix, sound=tuple(sound))
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
    stem = path
    if not info.files:
        stem, _ = os.path.splitext(path)
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
    path = info.path
    upright = probe_images(path, [path], rate_of(options), info.limits)
    return reduced(for_pictures(upright), options.prescale)


def _require_one_frame(output: str, info: VideoInfo, options: Options) -> None:
    counts = (options.frames, info.num_frames)
    if not info.is_picture and 1 not in counts:
        raise ValueError(
            f"{output}: holds one picture, and {info.path} may have more: give a "
            "folder name for PNG frames, or --frames 1"
        )


def _check_image(output: str, size: tuple[int, int]) -> None:
    width, height = size
    num_bytes = width * height * PIXEL_BYTES
    if num_bytes > LARGEST_IMAGE:
        raise ValueError(
            f"{output}: PNG files of {width}x{height} pixels cannot be written; "
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
    _, suffix = os.path.splitext(output.rstrip("/\\"))
    return suffix == ""


def output_size(options: Options, info: VideoInfo) -> tuple[int, int]:
    """(width, height) as asked, of a picture that nothing turns any more."""
    if options.size:
        return parse_size(options.size)
    scale = options.scale
    return info.width * scale, info.height * scale


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
        names = ", ".join(map(str, unsupported))
        advice = _ways_out(info, muxer, unsupported)
        raise ValueError(
            f"{info.path}: {SUFFIXES[muxer]} cannot hold {names}: {advice}"
        )
    return ways


def _ways_out(info: VideoInfo, muxer: str, unsupported: Sequence[StreamInfo]) -> str:
    """Advice, the least loss first: another container, AAC, or without the streams."""
    advice = []
    others = [other for other in SUFFIXES if other != muxer]
    able = [other for other in others if not unsupported_streams(info, other)]
    if able:
        suffixes = [SUFFIXES[other] for other in able]
        advice.append(f"use {' or '.join(suffixes)}")
    if any(_can_be_aac(info, muxer, stream) for stream in unsupported):
        advice.append("--encode-audio (its sound becomes AAC)")
    advice.append("--drop-streams to leave it out")
    return ", or ".join(advice)


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
    new_width, new_height = size
    across = matrix[6] * (new_width / width)
    down = matrix[7] * (new_height / height)
    return (*matrix[:6], _as_int32(across), _as_int32(down), matrix[8])


def _as_int32(value: float) -> int:
    # Damaged files shift by any number, and four times that has no place in the matrix.
    least, most = -(2**31), 2**31 - 1
    return min(max(round(value), least), most)


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
    others = dict(words)
    for name in words:
        # QuickTime spells it in small letters, Matroska in capital ones.
        if name.lower() == key:
            del others[name]
    return others
