"""Where a stream comes from and goes to, as the user writes it, and how FFmpeg is asked
to open it.
"""

import os
from dataclasses import dataclass, field
from fractions import Fraction

from infer.sources.network import is_network, network_options, scheme_of

PIPE = "-"
# A muxer's part in low delay: bytes leave with every packet, and no picture waits for
# sound that does not come.
AT_ONCE = {"flush_packets": "1", "max_interleave_delta": "1"}
# Containers that are playable at every moment, also when the process is killed.
RECORDINGS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".ts": "mpegts",
    ".m3u8": "hls",
}


@dataclass(frozen=True)
class RawPictures:
    """Uncompressed pictures of a pipe or a camera; rate: pictures per second."""

    width: int
    height: int
    pixel_format: str
    rate: Fraction


@dataclass(frozen=True)
class InputAddress:
    """How FFmpeg opens a live input.

    waits: it can be made to wait without losing anything. lasts: it has no end of its
    own. is_file: it is a file of this machine.
    """

    path: str
    url: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict, hash=False)
    waits: bool = False
    lasts: bool = False
    is_file: bool = False


@dataclass(frozen=True)
class Target:
    """How FFmpeg opens a live output.

    immediate: every frame leaves at once, so that its latency means something.
    """

    path: str
    url: str
    muxer: str
    options: dict[str, str] = field(default_factory=dict, hash=False)
    immediate: bool = False

    @property
    def has_clock(self) -> bool:
        """Whether frames carry timestamps; y4m and raw frames do not."""
        return self.muxer not in ("yuv4mpegpipe", "rawvideo")

    @property
    def is_file(self) -> bool:
        return self.path != PIPE and not is_network(self.path)


def is_live(path: str, output: str | None) -> bool:
    """Returns whether this pair needs a live session; all others are file jobs."""
    if _is_live_input(path) or output == PIPE:
        return True
    return output is not None and _is_live_output(output)


def _is_live_input(path: str) -> bool:
    if path == PIPE or _is_camera(path):
        return True
    place, _, _ = path.partition("?")
    is_playlist = place.lower().endswith(".m3u8")
    is_file = scheme_of(path) in ("http", "https") and not is_playlist
    return is_network(path) and not is_file


def _is_live_output(output: str) -> bool:
    return is_network(output) or output.lower().endswith((".m3u8", ".ts"))


def _is_camera(path: str) -> bool:
    return path.startswith("/dev/video")


def find_input(path: str, raw: RawPictures | None, low_delay: bool) -> InputAddress:
    """Returns how to open this input.

    raw: pictures that a pipe or camera hands out uncompressed. low_delay: hand out
    every frame as soon as its bytes are there.
    """
    if path == PIPE:
        return _standard_input(raw)
    if _is_camera(path):
        options = {}
        if raw is not None:
            options["video_size"] = f"{raw.width}x{raw.height}"
        return InputAddress(path, path, "v4l2", options, lasts=True)
    if not is_network(path):
        return InputAddress(path, path, waits=True, is_file=True)
    scheme = scheme_of(path)
    options = network_options(path)
    if low_delay and scheme in ("udp", "tcp", "srt"):
        # MPEG-TS carries one frame per packet; its parser would hold every frame until
        # the next one begins.
        options["fflags"] = "noparse"
    waits = scheme in ("http", "https")
    return InputAddress(path, path, None, options, waits, lasts=True)


def _standard_input(raw: RawPictures | None) -> InputAddress:
    if raw is None:
        return InputAddress(PIPE, "pipe:0", "yuv4mpegpipe", waits=True)
    options = {
        "pixel_format": raw.pixel_format,
        "video_size": f"{raw.width}x{raw.height}",
        "framerate": str(raw.rate),
    }
    return InputAddress(PIPE, "pipe:0", "rawvideo", options, waits=True)


def find_target(output: str | None, raw: bool) -> Target:
    """Returns how to open this output; raw: bare RGB on standard output, not y4m.

    ValueError if no live stream can be written there.
    """
    if output is None:
        raise ValueError(
            "--output is missing: a live source needs one, such as out.mp4, - or "
            "udp://127.0.0.1:5000"
        )
    if output == PIPE:
        muxer = "rawvideo" if raw else "yuv4mpegpipe"
        # strict: y4m of more than 8 bits is unofficial, as FFmpeg says.
        return Target(PIPE, "pipe:1", muxer, {"strict": "-1"}, immediate=True)
    if is_network(output):
        return _network_target(output)
    suffix = os.path.splitext(output)[1].lower()
    if suffix not in RECORDINGS:
        kinds = ", ".join(RECORDINGS)
        raise ValueError(
            f"{output}: a live stream is written to {kinds}, udp://, tcp:// or -"
        )
    muxer = RECORDINGS[suffix]
    # FFmpeg takes a relative name such as 12:30.ts for an address.
    url = os.path.abspath(output)
    return Target(output, url, muxer, _recording_options(muxer))


def _network_target(output: str) -> Target:
    scheme = scheme_of(output)
    if scheme not in ("udp", "tcp"):
        raise ValueError(
            f"{output}: cannot send to {scheme}://, expected udp:// or tcp:// (MPEG-TS)"
        )
    # With its length written, a frame can be played when its last byte is there, not
    # when the next one begins.
    options = {"omit_video_pes_length": "0", **AT_ONCE}
    return Target(output, output, "mpegts", options, immediate=True)


def _recording_options(muxer: str) -> dict[str, str]:
    if muxer in ("mp4", "mov"):
        # In fragments: an mp4 whose index comes at its end is lost with a kill.
        return {
            "movflags": "+frag_keyframe+delay_moov+default_base_moof",
            "flush_packets": "1",
        }
    if muxer == "matroska":
        return {"cluster_time_limit": "1000", "flush_packets": "1"}
    if muxer == "hls":
        return {
            "hls_time": "2",
            "hls_list_size": "10",
            # temp_file: a viewer sees no segment before it is whole.
            "hls_flags": "delete_segments+independent_segments+temp_file",
        }
    return {"flush_packets": "1"}
