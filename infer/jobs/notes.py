"""Notes before a job starts: about everything that is left out, changed or unwise."""

from collections.abc import Mapping

from av.video.format import VideoFormat

from infer.code_points import BT2020
from infer.sinks.containers import COPY, COPY_AS_ACM, SUFFIXES
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.encoders import ENCODERS
from infer.sinks.sound_encoder import AAC
from infer.sources.info import VideoInfo
from infer.sources.probe import pixel_layout

KEPT_ALPHA = "the alpha channel is enlarged by bicubic interpolation"
LOST_ALPHA = (
    "the alpha channel is left out; PNG frames hold it, --codec prores in .mov, and "
    "ffv1 or vp9 in .mkv"
)
# The beginning of a display matrix that changes nothing.
NOT_TURNED = (65536, 0, 0, 0, 65536)
MODEL_SCALE = 4
# A matrix that swscale does not know.
YCGCO = 8


def source_notes(
    info: VideoInfo, deinterlace: bool, size: tuple[int, int], keeps_alpha: bool
) -> list[str]:
    """Properties of the source that do not come out as one might expect."""
    notes = [f"left out: {text}" for text in info.left_out]
    if info.layout.has_alpha:
        notes.append(KEPT_ALPHA if keeps_alpha else LOST_ALPHA)
    if info.interlaced and not deinterlace:
        notes.append(
            "the source is interlaced and stays so, which looks combed when upscaled: "
            "try --deinterlace"
        )
    width, height = size
    is_wider = width > MODEL_SCALE * info.width
    is_higher = height > MODEL_SCALE * info.height
    if is_wider or is_higher:
        notes.append(f"{width}x{height} is more than 4x: the rest is interpolated")
    matrix = info.color.matrix
    if matrix > BT2020 or matrix == YCGCO:
        notes.append(f"colour matrix {matrix} is converted as BT.601 both ways")
    return notes


def encoder_notes(spec: VideoSpec, info: VideoInfo) -> list[str]:
    """Changes by the encoder."""
    layout = pixel_layout(VideoFormat(spec.pixel_format))
    notes = []
    if layout.bits < info.layout.bits:
        notes.append(
            f"{spec.encoder} has {layout.bits} of the source's {info.layout.bits} "
            "bits: try libx265 or ffv1"
        )
    is_widened = layout.chroma == "444" and info.layout.chroma != "444"
    if is_widened and ENCODERS[spec.encoder].even_sizes:
        notes.append(
            f"{spec.width}x{spec.height} is odd: written as 4:4:4, which some players "
            "do not play"
        )
    return notes


def sound_notes(info: VideoInfo, ways: Mapping[int, str], muxer: str) -> list[str]:
    """Streams that are left out or not simply copied.

    ways: by index of a stream, as `Packaging.way_of` tells.
    """
    notes = []
    for stream in info.others:
        way = ways.get(stream.index, COPY)
        if way == AAC:
            notes.append(f"{stream} is encoded to AAC")
        elif way not in (COPY, COPY_AS_ACM):
            notes.append(f"{stream} is written as {way}, sample for sample")
    absent = [stream for stream in info.others if stream.index not in ways]
    if absent:
        names = ", ".join(map(str, absent))
        suffix = SUFFIXES[muxer]
        notes.append(f"left out, because {suffix} cannot hold it: {names}")
    return notes


def image_notes(info: VideoInfo) -> list[str]:
    """Properties of the source that PNG files cannot say."""
    losses = []
    if info.display_matrix and info.display_matrix[:5] != NOT_TURNED:
        losses.append("rotation")
    if info.sar not in (None, 1):
        losses.append(f"pixel aspect ratio ({info.sar})")
    losses += [str(stream) for stream in info.others]
    if info.chapters:
        losses.append(f"{len(info.chapters)} chapters")
    if info.metadata or info.stream_metadata:
        losses.append("metadata")
    if info.hdr:
        losses.append("HDR metadata")
    if not losses:
        return []
    return [f"PNG frames hold no timestamps and no {', '.join(losses)}"]
