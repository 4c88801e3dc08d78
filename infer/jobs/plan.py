"""Everything that is decided before the work starts, so that a job either begins well
or says why not.
"""

import os
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from av.video.format import VideoFormat

from infer.command.options import Options, limits_of, parse_size, rate_of
from infer.errors import JobError
from infer.jobs.work_folder import is_published
from infer.sinks.containers import SUFFIXES, Packaging, muxer_of, natural_muxer, refused
from infer.sinks.dry_run import choose_packaging
from infer.sinks.encoders import (
    ENCODERS,
    VideoSpec,
    choose_pixel_format,
    find_encoder,
    try_encoder,
    written_tags,
)
from infer.sinks.output_files import check_segments
from infer.sources.fields import with_fields
from infer.sources.info import (
    BT2020,
    RGB_MATRIX,
    VideoInfo,
    guessed_matrix,
    reduced,
)
from infer.sources.probe import pixel_layout, probe
from infer.targets import check_replaceable

MAX_THREADS = 16
NOT_TURNED = (65536, 0, 0, 0, 65536)
"""The beginning of a display matrix that changes nothing."""


@dataclass(frozen=True)
class Plan:
    """A job. `spec` is None for a folder of PNG frames; `notes` are said to the user
    before the start.
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
    """Where the output is put, if its final name is not given to it yet."""

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
        left = max(0, total - self.start)
        return left if self.count is None else min(left, self.count)

    @property
    def is_part(self) -> bool:
        """Whether only some frames of the source are wanted."""
        return self.start > 0 or self.count is not None

    def described(self) -> dict[str, Any]:
        """What decides the bytes of the output, for the check before going on with
        earlier work.
        """
        spec = (
            {}
            if self.spec is None
            else {k: str(v) for k, v in asdict(self.spec).items()}
        )
        return {
            **spec,
            "size": f"{self.size[0]}x{self.size[1]}",
            "start": self.start,
            "frames": self.count,
            "deinterlace": self.deinterlace,
            "segment": self.group,
            "container": self.package.muxer if self.package else "",
            "streams": list(self.package.kept) if self.package else [],
            **self._reduction(),
        }

    def _reduction(self) -> dict[str, str]:
        # only where it is asked for: unfinished work from before the option goes on
        if self.info.reduced_from is None:
            return {}
        return {"reduced_to": f"{self.info.width}x{self.info.height}"}


def make_plan(
    options: Options,
    path: str,
    output: str | None = None,
    info: VideoInfo | None = None,
    owner: str | None = None,
) -> Plan:
    """Look at the source, where ``info`` is not known yet, and settle the output.

    owner: the output whose work folder counts, where this one is a part of it.

    Raises ValueError for what the user can change on the command line, JobError for
    what is wrong with the files.
    """
    info = info or probe(path, options.stream, rate_of(options), limits_of(options))
    if options.fps is not None and not info.files:
        raise ValueError(
            f"--fps {options.fps}: {path} has times of its own, expected a folder of "
            "images; leave --fps out"
        )
    if info.num_frames is not None and options.start >= info.num_frames:
        raise ValueError(
            f"--start {options.start}: {path} has {info.num_frames} frames"
        )
    field_notes: list[str] = []
    if options.deinterlace:
        info, field_notes = with_fields(info)
    if options.start:
        info = _without_time_code(info)
    info = reduced(info, options.prescale)
    size = output_size(options, info)
    output = output or default_output(info, options)
    if options.size and info.is_sideways and not _holds_images(output):
        size = (size[1], size[0])  # as it is seen, which players turn
    if is_picture_name(output):
        _require_one_frame(output, info, options)
    check_target(output, path, options.overwrite, owner)
    common = {
        "info": info,
        "output": output,
        "size": size,
        "start": options.start,
        "count": options.frames,
        "deinterlace": options.deinterlace,
        "group": options.segment,
    }
    if _holds_images(output):
        return Plan(
            **common,
            notes=tuple(
                field_notes + _notes(info, options, size) + _lost_in_images(info)
            ),
        )
    muxer = muxer_of(output)
    kept = _kept_streams(info, muxer, options)
    spec = _video_spec(options, info, size)
    try_encoder(spec)
    package, losses = choose_packaging(
        info, spec, Packaging(muxer, kept, _display_matrix(info, size))
    )
    notes = (
        field_notes + _notes(info, options, size) + _encoder_notes(spec, info) + losses
    )
    if missing := [s for s in info.others if s.index not in kept]:
        notes.append(
            f"left out, because {SUFFIXES[muxer]} cannot hold it: {', '.join(map(str, missing))}"
        )
    return Plan(**common, notes=tuple(notes), spec=spec, package=package)


def default_output(info: VideoInfo, options: Options, folder: str | None = None) -> str:
    """Beside the source (or in ``folder``): in.mp4 -> in_x4.mp4, a folder of frames ->
    frames_x4.
    """
    path = info.path.rstrip("/\\")
    stem, _ = (path, "") if info.files else os.path.splitext(path)
    if folder is not None:
        stem = os.path.join(folder, os.path.basename(stem))
    name = f"{stem}_x{options.scale * options.prescale:g}"
    if options.size:
        name = f"{stem}_{options.size.lower()}"
    if info.files:
        return name
    return (
        name
        + SUFFIXES[
            natural_muxer(info, _video_spec(options, info, output_size(options, info)))
        ]
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


def is_picture_name(output: str) -> bool:
    """Whether the output is one PNG file."""
    return output.lower().endswith(".png")


def _holds_images(output: str) -> bool:
    return _is_folder(output) or is_picture_name(output)


def _require_one_frame(output: str, info: VideoInfo, options: Options) -> None:
    if not info.is_picture and 1 not in (options.frames, info.num_frames):
        raise ValueError(
            f"{output}: holds one picture, and {info.path} may have more: give a folder "
            "name for PNG frames, or --frames 1"
        )


def output_size(options: Options, info: VideoInfo) -> tuple[int, int]:
    """(width, height) as asked."""
    if options.size:
        return parse_size(options.size)
    return info.width * options.scale, info.height * options.scale


def _kept_streams(info: VideoInfo, muxer: str, options: Options) -> tuple[int, ...]:
    bad = refused(info, muxer)
    if bad and not options.drop_streams:
        able = [SUFFIXES[m] for m in SUFFIXES if m != muxer and not refused(info, m)]
        use = f"use {' or '.join(able)}, or " if able else ""
        raise ValueError(
            f"{SUFFIXES[muxer]} cannot hold {', '.join(map(str, bad))}: {use}--drop-streams to leave it out"
        )
    return tuple(s.index for s in info.others if s not in bad)


def _video_spec(options: Options, info: VideoInfo, size: tuple[int, int]) -> VideoSpec:
    encoder = find_encoder(options.codec, info.layout)
    if options.crf is not None and not encoder.quality:
        raise ValueError(f"--crf {options.crf}: {encoder.name} has no such setting")
    if options.preset is not None and not encoder.preset:
        raise ValueError(f"--preset {options.preset}: {encoder.name} has no presets")
    guess = guessed_matrix(size[1])
    matrix = guess if info.color.matrix == RGB_MATRIX else info.matrix
    return VideoSpec(
        encoder=encoder.name,
        pixel_format=choose_pixel_format(encoder, info.layout, size),
        width=size[0],
        height=size[1],
        time_base=info.time_base,
        rate=info.rate,
        color=written_tags(info.color, matrix, guess, encoder),
        matrix=matrix,
        sar=pixel_aspect(info, size),
        crf=options.crf,
        preset=options.preset,
        hdr=info.hdr,
        threads=min(MAX_THREADS, os.cpu_count() or 1),
    )


def pixel_aspect(info: VideoInfo, size: tuple[int, int]) -> Fraction | None:
    """The pixel aspect ratio that keeps the shape of the picture on screen."""
    width, height = info.stored_size
    stretch = Fraction(width * size[1], height * size[0])
    if stretch == 1:
        return info.sar
    aspect = ((info.sar or Fraction(1)) * stretch).limit_denominator(65535)
    return aspect if 0 < aspect.numerator < 2**31 else None


def _display_matrix(info: VideoInfo, size: tuple[int, int]) -> tuple[int, ...] | None:
    """The source's, its shift scaled to the bigger picture."""
    matrix = info.display_matrix
    if matrix is None:
        return None
    width, height = info.stored_size
    across, down = size[0] / width, size[1] / height
    shift = [
        min(max(round(v), -(2**31)), 2**31 - 1)
        for v in (matrix[6] * across, matrix[7] * down)
    ]
    return (*matrix[:6], *shift, matrix[8])


def _notes(info: VideoInfo, options: Options, size: tuple[int, int]) -> list[str]:
    notes = [f"left out: {text}" for text in info.left_out]
    if info.layout.has_alpha:
        notes.append("the alpha channel is not upscaled: left out")
    if info.interlaced and not options.deinterlace:
        notes.append(
            "the source is interlaced and stays so, which looks combed when upscaled: try --deinterlace"
        )
    if size[0] > 4 * info.width or size[1] > 4 * info.height:
        notes.append(f"{size[0]}x{size[1]} is more than 4x: the rest is interpolated")
    if info.color.matrix > BT2020 or info.color.matrix == 8:
        notes.append(
            f"colour matrix {info.color.matrix} is converted as BT.601 both ways"
        )
    return notes


def _encoder_notes(spec: VideoSpec, info: VideoInfo) -> list[str]:
    layout, notes = pixel_layout(VideoFormat(spec.pixel_format)), []
    if layout.bits < info.layout.bits:
        notes.append(
            f"{spec.encoder} has {layout.bits} of the source's {info.layout.bits} bits: try libx265 or ffv1"
        )
    if (
        layout.chroma != info.layout.chroma
        and ENCODERS[spec.encoder].even_sizes
        and layout.chroma == "444"
    ):
        notes.append(
            f"{spec.width}x{spec.height} is odd: written as 4:4:4, which some players do not play"
        )
    return notes


def _without_time_code(info: VideoInfo) -> VideoInfo:
    words = {k: v for k, v in info.stream_metadata.items() if k.lower() != "timecode"}
    above = {k: v for k, v in info.metadata.items() if k.lower() != "timecode"}
    if (words, above) == (info.stream_metadata, info.metadata):
        return info
    why = "the time code: it is that of the first frame, which is left out"
    return replace(
        info, stream_metadata=words, metadata=above, left_out=(*info.left_out, why)
    )


def _lost_in_images(info: VideoInfo) -> list[str]:
    lost = (
        ["rotation"]
        if info.display_matrix and info.display_matrix[:5] != NOT_TURNED
        else []
    )
    lost += [str(s) for s in info.others]
    lost += [f"{len(info.chapters)} chapters"] if info.chapters else []
    lost += ["metadata"] if info.metadata or info.stream_metadata else []
    lost += ["HDR metadata"] if info.hdr else []
    return [f"PNG frames hold no timestamps and no {', '.join(lost)}"] if lost else []
