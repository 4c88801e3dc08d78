"""The options of `python -m infer`, typed; this module must import fast, for --help."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

import tyro

arg = tyro.conf.arg


@dataclass(frozen=True)
class Options:
    """Upscale video: ``python -m infer --video in.mp4`` writes ``in_x4.mp4`` beside it.

    Audio, subtitles, chapters, timestamps, rotation, aspect ratio and colour tags come
    out as they went in. An interrupted job goes on where it stopped when the same
    command is given again.
    """

    video: Annotated[
        tuple[str, ...], arg(aliases=("-i", "--input", "--in-path"), metavar="PATH")
    ] = ()
    """Videos, or folders of frames or of videos. Live: - (standard input), udp://,
    tcp://, rtsp://, srt://, http://....m3u8, /dev/video0.
    """
    output: Annotated[str | None, arg(aliases=("-o", "--out-path"), metavar="PATH")] = (
        None
    )
    """An .mp4, .mkv or .mov file, or a folder for PNG frames; with several inputs the
    folder for the results. Live also - (standard output), udp://, tcp://, .ts and
    .m3u8.
    """
    model: Annotated[str, arg(aliases=("--model-id", "-n"))] = "nano"
    """A model shipped with the package, a .safetensors file, a checkpoint folder or a
    hub id.
    """
    flow_weights: str | None = None
    """Flow network weights for checkpoints that come without."""
    offline: bool = False
    """Never ask the network for weights."""
    steps: Annotated[int | None, arg(aliases=("--num-inference-steps",))] = None
    """Denoising steps, instead of the model's own number."""
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
    start: int = 0
    """First frame to upscale."""
    frames: int | None = None
    """How many frames to upscale."""
    fps: str = "25"
    """Frame rate of a folder of images, such as 24 or 30000/1001."""
    stream: int | None = None
    """Index of the video stream, where a file has several."""
    on_resize: Literal["scale", "split"] = "scale"
    """Where the frame size changes in mid-stream: scale to the first size, or begin a
    new file, NAME_2.mp4, ...
    """
    deinterlace: bool = False
    """Deinterlace before upscaling."""
    drop_streams: bool = False
    """Leave out streams that the output cannot hold, instead of refusing."""
    seed: int = 0
    """Noise seed."""
    restore: Annotated[str, arg(metavar="auto|0..1")] = "auto"
    """How much of compression, noise and blur is repaired: auto leaves clean input alone,
    0 keeps the input as it is, 1 repairs all. For models with a restorer.
    """
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Of the networks' activations, instead of the model's own."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """auto, cpu, gpu or gpu:1."""
    tile: Annotated[str, arg(metavar="auto|off|N|WxH")] = "auto"
    """Work on tiles of this many input pixels to save memory; auto does when the whole
    frame would not fit.
    """
    overwrite: bool = False
    """Replace an existing output."""
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
    trust_playlist: bool = False
    """Let a local playlist read files outside its own folder."""
    debug: bool = False
    """Show tracebacks."""


def parse(arguments: list[str]) -> Options:
    """Options from the command line; ends the process with status 2 and a hint when
    they make no sense.
    """
    options = tyro.cli(Options, args=arguments, prog="python -m infer")
    check(options)
    return options


def check(options: Options) -> None:
    """ValueError for values that no input could make right."""
    if not options.video:
        raise ValueError(
            "--video is missing: expected a video file or a folder of frames"
        )
    least = {"start": 0, "frames": 1, "steps": 1, "segment": 1, "crf": 0}
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise ValueError(f"--{name} {value}: expected at least {low}")
    if options.timeout <= 0 or options.reconnect < 0:
        raise ValueError(
            f"--timeout {options.timeout:g} --reconnect {options.reconnect:g}: expected positive seconds"
        )
    parse_fps(options.fps)
    if options.size is not None:
        parse_size(options.size)
    if options.input_size is not None:
        parse_size(options.input_size, "--input-size")
    parse_degree(options.restore)
    if options.tile not in ("auto", "off"):
        parse_tile(options.tile)
    if options.resume and (options.restart or options.overwrite):
        raise ValueError(
            "--resume: goes on with earlier work, but --restart and --overwrite throw it away"
        )


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """'1920x1080' -> (1920, 1080)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"{option} {text}: expected WIDTHxHEIGHT, such as 1920x1080")
    return int(width), int(height)


def parse_tile(text: str) -> tuple[int, int]:
    """'256' -> (256, 256), '320x180' -> (320, 180)."""
    width, _, height = text.lower().partition("x")
    height = height or width
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(
            f"--tile {text}: expected auto, off, a number of pixels, or WIDTHxHEIGHT"
        )
    return int(width), int(height)


def parse_degree(text: str) -> float:
    """'0.5' -> 0.5; 'auto' -> a negative number, which is what the stream takes for it."""
    if text == "auto":
        return -1.0
    try:
        degree = float(text)
    except ValueError:
        degree = -1.0
    if not 0 <= degree <= 1:
        raise ValueError(f"--restore {text}: expected auto, or a number from 0 to 1")
    return degree


def parse_fps(text: str) -> Fraction:
    """'25', '23.976' or '30000/1001' -> exact frames per second."""
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if fps <= 0 or fps > 100_000:
        raise ValueError(
            f"--fps {text}: expected a positive rate, such as 25 or 30000/1001"
        )
    return fps
