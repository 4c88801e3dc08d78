"""The options of `python -m infer`, typed; this module must import fast, for --help.

They are one object with five parts, so that each reader can ask for its part alone.
Only the first field of a part has a position; the others are given by name.
"""

import math
import re
from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from typing import Annotated, Literal

import tyro

from infer.sources.info import DEFAULT_MAX_PIXELS, Limits

arg = tyro.conf.arg

# Pixels: more than any encoder takes, and little enough for every C integer.
LARGEST_SIDE = 1_000_000
LIMITS = {
    # Frames are numbered in 64 bits, and FFmpeg keeps the length of a group in 32.
    "start": (0, 10**12),
    "frames": (1, 10**12),
    "segment": (1, 10**6),
    "steps": (1, 1000),
    "crf": (0, 255),
    # What a key of JAX's random numbers is made of.
    "seed": (-(2**31), 2**31 - 1),
    "stream": (0, 10**6),
    # FFmpeg keeps the product of width and height in 64 bits, JAX a side in 32.
    "max_pixels": (1, 2**31 - 1),
    "workers": (1, 10_000),
    "threads": (1, 1024),
}
# Fraction() also takes 1e99999999, and computes all its digits.
RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?(/[0-9]{1,9})?")
DEFAULT_FPS = "25"
# Frames per second.
FASTEST = 100_000
SMALLEST_PRESCALE = 0.1
# Seconds.
LONGEST_WAIT = 10**6


@dataclass(frozen=True)
class InputOptions:
    """The input."""

    video: Annotated[
        tuple[str, ...], arg(aliases=("-i", "--input", "--in-path"), metavar="PATH")
    ] = ()
    """Videos, or folders of frames or of videos. Live: - (standard input), udp://,
    tcp://, rtsp://, srt://, http://....m3u8, /dev/video0.
    """
    _: KW_ONLY
    recursive: bool = False
    """Look for videos and frames in subfolders of a folder, too."""
    start: int = 0
    """First frame to upscale."""
    frames: int | None = None
    """How many frames to upscale."""
    fps: str | None = None
    """Frame rate of a folder of images or of raw pictures, such as 24 or 30000/1001; 25
    by default. Videos have their own.
    """
    stream: int | None = None
    """Index of the video stream, where a file has several."""
    deinterlace: bool = False
    """Deinterlace before upscaling."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Refuse pictures with more pixels than this, before they are decoded."""
    prescale: float = 1.0
    """Reduce the frames of a file by this factor before the model, such as 0.5: for
    videos that were enlarged before. `infer plan` proposes it.
    """
    trust_playlist: bool = False
    """Let a local playlist read files outside its own folder."""


@dataclass(frozen=True)
class OutputOptions:
    """The output and its encoding."""

    output: Annotated[str | None, arg(aliases=("-o", "--out-path"), metavar="PATH")] = (
        None
    )
    """An .mp4, .mkv or .mov file, or a folder for PNG frames; with several inputs the
    folder for the results. Live also - (standard output), udp://, tcp://, .ts and
    .m3u8.
    """
    _: KW_ONLY
    scale: Annotated[Literal[2, 3, 4], arg(aliases=("-s",))] = 4
    """Size of the output; below 4 the x4 result is reduced by an antialiased Lanczos
    filter.
    """
    size: Annotated[str | None, arg(metavar="WxH")] = None
    """Exact output size instead of --scale; the aspect ratio on screen is kept by the
    pixel aspect ratio.
    """
    codec: str | None = None
    """libx264 (8 bit) or libx265 (more) by default; libsvtav1, libvpx-vp9, ffv1,
    prores, h264_nvenc, ...
    """
    crf: int | None = None
    """Quality, lower is better; each codec has its own default."""
    preset: str | None = None
    """Speed preset of the codec."""
    on_resize: Literal["scale", "split"] = "scale"
    """Where the frame size changes in mid-stream: scale to the first size, or begin a
    new file, NAME_2.mp4, ...
    """
    encode_audio: bool = False
    """Encode to AAC the sound that the output cannot hold as it is, instead of
    refusing.
    """
    drop_streams: bool = False
    """Leave out streams that the output cannot hold, instead of refusing."""
    overwrite: bool = False
    """Replace an existing output."""


@dataclass(frozen=True)
class ModelOptions:
    """The model and its device."""

    model: Annotated[str, arg(aliases=("--model-id", "-n"))] = "nano"
    """A model shipped with the package, a .safetensors file, a checkpoint folder or a
    hub id.
    """
    _: KW_ONLY
    flow_weights: str | None = None
    """Flow network weights for checkpoints that come without."""
    offline: bool = False
    """Never ask the network for weights."""
    steps: Annotated[int | None, arg(aliases=("--num-inference-steps",))] = None
    """Denoising steps, instead of the model's own number."""
    seed: int = 0
    """Noise seed."""
    restore: Annotated[str, arg(metavar="auto|0..1")] = "auto"
    """How much of compression, noise and blur is repaired: auto leaves clean input
    alone, 0 keeps the input as it is, 1 repairs all. For models with a restorer.
    """
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Of the networks' activations, instead of the model's own."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """auto, cpu, gpu or gpu:1."""
    threads: int | None = None
    """Of the model on a CPU, one a core by default; another number makes other bytes.
    """
    tile: Annotated[str, arg(metavar="auto|off|N|WxH")] = "auto"
    """Work on tiles of this many input pixels to save memory; auto does when the whole
    frame would not fit.
    """


@dataclass(frozen=True)
class JobOptions:
    """How a job begins, goes on and ends."""

    _: KW_ONLY
    resume: bool = False
    """Insist on going on with unfinished work, which happens by itself where there is
    any.
    """
    restart: bool = False
    """Throw away the unfinished work of an earlier run instead of going on with it."""
    segment: int = 120
    """Frames that are encoded and kept together; what an interruption can lose at most.
    """
    report: Annotated[str | None, arg(metavar="JSON")] = None
    """Write what was done, how fast, and what was checked."""
    debug: bool = False
    """Show tracebacks."""


@dataclass(frozen=True)
class LiveOptions:
    """Streams alone."""

    _: KW_ONLY
    live: Literal["drop", "block", "skip-similar"] | None = None
    """When frames come faster than they are upscaled: drop the oldest (the default of
    cameras and networks), make the source wait (of pipes, HLS, files), or drop and also
    repeat the last result while the picture hardly changes.
    """
    input_size: Annotated[str | None, arg(metavar="WxH")] = None
    """--video - is raw RGB of this size at --fps, instead of y4m; or the size asked of
    a camera.
    """
    raw_format: Literal["rgb24", "rgb48le"] = "rgb24"
    """Of raw input."""
    raw_output: bool = False
    """--output - is raw RGB (8 or 16 bit as the source), instead of y4m."""
    timeout: float = 10.0
    """Seconds to wait for a network source to open, and for its next data."""
    reconnect: float = 30.0
    """Seconds in which a lost network source may come back."""


@dataclass(frozen=True)
class ClusterOptions:
    """Several workers, by Ray (docs/cluster.md)."""

    _: KW_ONLY
    workers: int | None = None
    """How many workers share the work: on this machine, or at most so many of
    --cluster.
    """
    cluster: Annotated[str | None, arg(metavar="auto|ADDRESS")] = None
    """A Ray cluster instead of this machine alone: auto, or its address."""
    cut_at: tuple[int, ...] = ()
    """Frames at which the stream forgets what was before, beside the scene cuts where
    it does so by itself; workers can begin there.
    """
    mixed_workers: bool = False
    """Let workers of different devices and versions do one video, whose bytes are then
    not those of any single one.
    """
    gpu_share: float = 1.0
    """Part of a GPU that a worker takes."""
    worker_patience: float = 1800.0
    """Seconds without a frame after which a worker is ended and started anew."""


# Fields come from the last base first.
@dataclass(frozen=True)
class Options(
    ClusterOptions,
    LiveOptions,
    JobOptions,
    ModelOptions,
    OutputOptions,
    InputOptions,
):
    """Upscale video: ``python -m infer --video in.mp4`` writes ``in_x4.mp4`` beside it.

    Audio, subtitles, chapters, timestamps, rotation, aspect ratio and colour tags come
    out as they went in. An interrupted job goes on where it stopped when the same
    command is given again.
    """


def parse(arguments: list[str]) -> Options:
    """Options from the command line.

    Ends the process with status 2 and a hint when they make no sense.
    """
    options = tyro.cli(Options, args=arguments, prog="python -m infer")
    check(options)
    return options


def check(options: Options) -> None:
    """Raises ValueError for values that no input could make right."""
    if not options.video:
        raise ValueError(
            "--video is missing: expected a video file or a folder of frames"
        )
    for name in LIMITS:
        _check_limits(name, getattr(options, name))
    _check_seconds("timeout", options.timeout)
    if options.reconnect:
        _check_seconds("reconnect", options.reconnect)
    check_crew(options)
    rate_of(options)
    if not SMALLEST_PRESCALE <= options.prescale <= 1:
        raise ValueError(
            f"--prescale {options.prescale:g}: expected {SMALLEST_PRESCALE:g} to 1"
        )
    if options.size is not None:
        parse_size(options.size)
    if options.input_size is not None:
        parse_size(options.input_size, "--input-size")
    parse_degree(options.restore)
    if options.tile not in ("auto", "off"):
        parse_tile(options.tile)
    if options.resume and (options.restart or options.overwrite):
        raise ValueError(
            "--resume: goes on with earlier work, but --restart and --overwrite throw "
            "it away"
        )


def check_crew(options: Options) -> None:
    """Raises ValueError for numbers of workers, and how they are found, that no machine
    could make right.
    """
    _check_limits("workers", options.workers)
    _check_limits("threads", options.threads)
    _check_seconds("worker-patience", options.worker_patience)
    for frame in options.cut_at:
        if frame < 0:
            raise ValueError(f"--cut-at {frame}: expected numbers of frames from 0 on")
    if not 0 < options.gpu_share <= 1:
        raise ValueError(
            f"--gpu-share {options.gpu_share:g}: expected more than 0, at most 1"
        )
    if is_shared(options) and ":" in options.device:
        raise ValueError(
            f"--device {options.device}: workers get their devices from Ray; give gpu "
            "or cpu"
        )


def is_shared(options: Options) -> bool:
    """Whether workers do the work, and not this process."""
    return options.workers is not None or options.cluster is not None


def _check_limits(name: str, value: int | None) -> None:
    low, high = LIMITS[name]
    if value is None:
        return
    if value < low:
        raise ValueError(f"--{name} {value}: expected at least {low}")
    if value > high:
        raise ValueError(f"--{name} {value}: expected at most {high}")


def _check_seconds(name: str, value: float) -> None:
    # Not a number compares as false with everything.
    if not (math.isfinite(value) and 0 < value <= LONGEST_WAIT):
        raise ValueError(
            f"--{name} {value:g}: expected positive seconds, at most {LONGEST_WAIT}"
        )


def limits_of(options: Options) -> Limits:
    """Returns the rules of reading the input."""
    return Limits(options.trust_playlist, options.max_pixels)


def rate_of(options: Options) -> Fraction:
    """Frames per second of sources without a clock."""
    return parse_fps(DEFAULT_FPS if options.fps is None else options.fps)


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """'1920x1080' -> (1920, 1080)."""
    size = _sides(text)
    if size is None:
        raise ValueError(f"{option} {text}: expected WIDTHxHEIGHT, such as 1920x1080")
    return size


def parse_tile(text: str) -> tuple[int, int]:
    """'256' -> (256, 256), '320x180' -> (320, 180)."""
    is_square = "x" not in text.lower()
    size = _sides(f"{text}x{text}" if is_square else text)
    if size is None:
        raise ValueError(
            f"--tile {text}: expected auto, off, a number of pixels, or WIDTHxHEIGHT"
        )
    return size


def _sides(text: str) -> tuple[int, int] | None:
    """The two numbers of a size, None if it is none."""
    sides = text.lower().split("x")
    if len(sides) != 2:
        return None
    numbers = []
    for side in sides:
        # isascii: int() would also take the digits of other scripts, and so many of
        # them.
        is_number = side.isascii() and side.isdecimal() and len(side) < 10
        if not is_number or not 0 < int(side) <= LARGEST_SIDE:
            return None
        numbers.append(int(side))
    width, height = numbers
    return width, height


def parse_degree(text: str) -> float:
    """'0.5' -> 0.5; 'auto' -> a negative number, as the stream takes it."""
    if text == "auto":
        return -1.0
    try:
        degree = float(text)
    except ValueError:
        degree = -1.0
    # As one comparison, which is false for nan.
    if not 0 <= degree <= 1:
        raise ValueError(f"--restore {text}: expected auto, or a number from 0 to 1")
    return degree


def parse_fps(text: str) -> Fraction:
    """'25', '23.976' or '30000/1001' -> exact frames per second."""
    rate = _rate(text)
    if rate is None or not 0 < rate <= FASTEST:
        raise ValueError(
            f"--fps {text}: expected a positive rate, such as 25 or 30000/1001"
        )
    return rate


def _rate(text: str) -> Fraction | None:
    """The number or the quotient, None if it is none."""
    if not RATE.fullmatch(text):
        return None
    number, _, divisor = text.partition("/")
    if not divisor:
        return Fraction(number)
    if int(divisor) == 0:
        return None
    return Fraction(number) / int(divisor)
