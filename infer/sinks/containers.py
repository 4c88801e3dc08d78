"""The abilities of output containers, by asking their muxers before the job starts."""

import contextlib
import io
import os
import tempfile
from dataclasses import dataclass

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from infer.errors import JobError
from infer.sinks.encoder_setup import add_encoder
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.packets import single_packets
from infer.sinks.sound_encoder import LOSSLESS, SoundEncoder, is_pcm
from infer.sources.info import OWN_OUTPUT, Limits, StreamInfo, VideoInfo
from infer.sources.probe import open_input

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
# Codecs of cover pictures that Matroska holds as attachments: name and type.
COVERS = {
    "png": ("cover.png", "image/png"),
    "mjpeg": ("cover.jpg", "image/jpeg"),
    "gif": ("cover.gif", "image/gif"),
    "tiff": ("cover.tif", "image/tiff"),
}
MP4_COVERS = {"png", "mjpeg", "bmp"}
COVER_CODECS = {"matroska": set(COVERS), "mp4": MP4_COVERS}
# What a muxer or PyAV raises for a stream that does not fit.
REFUSALS = (av.FFmpegError, ValueError, RuntimeError)

COPY = "copy"
# A copy into Matroska by the codec's Windows number: its muxer takes any sound that has
# one, but does not say so when it is asked.
COPY_AS_ACM = "copy as ACM"
# Sound that may go there, and is tried: the queue of `open_output` says nothing of a
# codec that has no such number.
ACM_CODECS = {
    *("adpcm_ms", "adpcm_ima_wav", "adpcm_yamaha", "adpcm_swf"),
    *("adpcm_g722", "adpcm_g726", "g723_1", "gsm_ms", "truespeech", "dfpwm"),
    *("pcm_mulaw", "pcm_alaw"),
    *("wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice"),
}


@dataclass(frozen=True)
class Packaging:
    """How one file is put together.

    streams: the source's other streams in it. matrix: display matrix of the video
    stream. any_key: mp4 and mov write metadata of any name, in QuickTime's form (which
    some players of mp4 do not look at). sound: index and way of every sound stream that
    is not simply copied: `COPY_AS_ACM` or an encoder.
    """

    muxer: str
    streams: tuple[int, ...] = ()
    matrix: tuple[int, ...] | None = None
    any_key: bool = False
    sound: tuple[tuple[int, str], ...] = ()

    def way_of(self, index: int) -> str:
        """How a stream gets into the file: `COPY`, `COPY_AS_ACM` or an encoder."""
        return dict(self.sound).get(index, COPY)

    @property
    def has_acm(self) -> bool:
        """Whether the file needs `open_output`'s way around the question."""
        return COPY_AS_ACM in dict(self.sound).values()


def muxer_of(path: str) -> str:
    """The muxer for an output file name; ValueError for names we do not write."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in MUXERS:
        raise ValueError(
            f"{path}: cannot write {suffix or 'a file without suffix'}, expected "
            f"{', '.join(MUXERS)}, or a folder name (no suffix) for PNG frames"
        )
    return MUXERS[suffix]


def natural_muxer(info: VideoInfo, spec: VideoSpec) -> str:
    """The container to use when none is asked for.

    The source's own if we write it, else the first that holds everything.
    """
    suffix = os.path.splitext(info.path)[1].lower()
    # .webm is Matroska limited to a few codecs, and what is written may be another.
    fallback = "matroska" if suffix == ".webm" else "mp4"
    first = MUXERS.get(suffix, fallback)
    others = [muxer for muxer in SUFFIXES if muxer != first]
    muxers = [first, *others]
    able = [muxer for muxer in muxers if _takes_video(spec, muxer)]
    for muxer in able:
        if not unsupported_streams(info, muxer):
            return muxer
    return able[0] if able else first


def unsupported_streams(info: VideoInfo, muxer: str) -> list[StreamInfo]:
    """The source's other streams that this container cannot hold without loss."""
    streams = info.others
    return [stream for stream in streams if way_into(muxer, info, stream) is None]


def way_into(muxer: str, info: VideoInfo, stream: StreamInfo) -> str | None:
    """How a stream gets into such a container without loss, None if there is no way."""
    path, limits = info.path, info.limits
    if _takes(muxer, path, stream, limits):
        return COPY
    if stream.kind != "audio":
        return None
    is_tried = muxer == "matroska" and stream.codec in ACM_CODECS
    if is_tried and _takes_as_acm(path, stream, limits):
        return COPY_AS_ACM
    if is_pcm(stream.codec):
        for encoder in LOSSLESS[muxer]:
            if takes_encoded(muxer, path, stream, limits, encoder):
                return encoder
    return None


def _takes(muxer: str, path: str, info: StreamInfo, limits: Limits) -> bool:
    # Muxers that hold no fonts or covers say so late or never.
    if info.kind == "attachment":
        return muxer == "matroska"
    if info.kind == "cover":
        is_known = info.codec in COVER_CODECS.get(muxer, ())
        return is_known and bool(_cover(path, info.index, limits))
    try:
        output = av.open(io.BytesIO(), "w", format=muxer)
        with open_input(path, limits) as source:
            stream = source.streams[info.index]
            copy = add_copy(output, source, info)
            # Some muxers refuse only at the header, some only at the first packet.
            output.start_encoding()
            if copy.type == "audio":
                _mux_first(output, source, stream, copy)
    except REFUSALS:
        return False
    return True


def _takes_as_acm(path: str, info: StreamInfo, limits: Limits) -> bool:
    """Whether Matroska holds the first packet of a sound by the codec's number."""
    with tempfile.TemporaryDirectory() as folder:
        trial = os.path.join(folder, "trial.mkv")
        try:
            with open_input(path, limits) as source:
                stream = source.streams[info.index]
                with open_output(trial, "matroska", {}, True) as output:
                    copy = add_copy(output, source, info)
                    _mux_first(output, source, stream, copy)
            with open_input(trial, OWN_OUTPUT) as result:
                return any(packet.size for packet in result.demux(audio=0))
        except (*REFUSALS, JobError, OSError):
            return False


def open_output(
    path: str, muxer: str, options: dict[str, str], has_acm: bool
) -> OutputContainer:
    """Opens an output for writing.

    has_acm: PyAV asks the muxer about every codec and takes its word. FFmpeg's queue
    before another muxer is asked nothing, but hands no chapters on.
    """
    if has_acm:
        options = {**options, "fifo_format": muxer}
        muxer = "fifo"
    return av.open(path, "w", format=muxer, container_options=options)


def takes_encoded(
    muxer: str, path: str, info: StreamInfo, limits: Limits, encoder: str
) -> bool:
    """Whether a sound stream can be decoded, encoded so, and put into the container."""
    output = av.open(io.BytesIO(), "w", format=muxer)
    try:
        with open_input(path, limits) as source:
            stream = source.streams[info.index]
            sound = SoundEncoder(output, stream, encoder)
            for packet in source.demux(stream):
                ready = sound.encode(packet)
                if ready:
                    # Encoders wait for a frame's worth of samples, and some muxers
                    # refuse only here.
                    output.mux(ready)
                    return True
    except REFUSALS:
        pass
    return False


def _mux_first(
    output: OutputContainer, source: InputContainer, stream: Stream, copy: Stream
) -> None:
    first = next(source.demux(stream))
    for packet in single_packets(first):
        packet.stream = copy
        output.mux(packet)


def add_copy(
    output: OutputContainer, source: InputContainer, info: StreamInfo
) -> Stream:
    """A stream of ``output`` that takes that stream's packets unchanged.

    Matroska's covers are complete with it.
    """
    stream = source.streams[info.index]
    if info.kind == "cover" and output.format.name == "matroska":
        name, mimetype = COVERS[info.codec]
        cover = _cover(source.name, info.index, OWN_OUTPUT)
        return output.add_attachment(name, mimetype, cover)
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.disposition = stream.disposition
    copy.metadata.update(info.metadata)
    return copy


def _cover(path: str, index: int, limits: Limits) -> bytes:
    """The bytes of a cover picture, none if it cannot be read."""
    with open_input(path, limits) as source, contextlib.suppress(av.FFmpegError):
        for packet in source.demux(source.streams[index]):
            if packet.size:
                return bytes(packet)
    return b""


def other_muxers(spec: VideoSpec, muxer: str) -> list[str]:
    """The other containers that hold such video."""
    others = [other for other in SUFFIXES if other != muxer]
    return [other for other in others if _takes_video(spec, other)]


def _takes_video(spec: VideoSpec, muxer: str) -> bool:
    output = av.open(io.BytesIO(), "w", format=muxer)
    try:
        add_encoder(output, spec, 1)
        output.start_encoding()
    except REFUSALS:
        return False
    return True
