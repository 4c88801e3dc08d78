"""Small files of many kinds, and the endings that a job on them may have."""

import os
from pathlib import Path

import av

SIZE = (16, 16)  # one size, because every size is a compilation
COUNT = 6
SOURCES = {
    "a.mp4": {
        "codec": "libx264",
        "audio": "aac",
        "metadata": {"title": "x"},
        "chapters": [(0, 0.1, "a")],
    },
    "a.mkv": {
        "codec": "libx264",
        "audio": "aac",
        "chapters": [(0, 0.1, "a"), (0.1, 0.2, "b")],
    },
    "h264.ts": {"codec": "libx264", "audio": "aac", "muxer": "mpegts"},
    "mpeg2.ts": {"codec": "mpeg2video", "muxer": "mpegts"},
    "a.avi": {"codec": "mpeg4", "audio": "mp3"},
    "a.webm": {"codec": "libvpx-vp9", "audio": "libopus"},
    "a.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "lossless.mkv": {"codec": "ffv1"},
    "a.flv": {"codec": "flv1"},
    "a.gif": {"codec": "gif", "pixel_format": "rgb8"},
    "a.y4m": {"codec": "wrapped_avframe"},
    "untimed.264": {"codec": "libx264", "muxer": "h264"},
    "a.mpg": {"codec": "mpeg1video"},
    "a.png": {"codec": "png", "pixel_format": "rgb24", "muxer": "image2"},
    "a.jpg": {"codec": "mjpeg", "pixel_format": "yuvj420p", "muxer": "image2"},
}


def ends_well(folder: Path, before: set[str], status: int, stderr: str) -> str | None:
    """The error line of a job that failed cleanly; None if it left one output that
    decodes from end to end.
    """
    errors = [line for line in stderr.splitlines() if line.startswith("error")]
    remains = sorted(set(os.listdir(folder)) - before)
    assert "Traceback" not in stderr
    assert "fault in this program" not in stderr
    # Numbers of the system, and Python's own words for an error.
    assert "[Errno" not in stderr
    if status:
        assert status in (1, 2)
        assert remains == [], stderr
        (error,) = errors
        return error
    assert errors == [], stderr
    (output,) = remains
    num_frames = frames_told(stderr)
    with av.open(str(folder / output)) as container:
        num_pictures = sum(1 for _ in container.decode(video=0))
    assert num_pictures == num_frames
    assert num_frames > 0
    return None


def frames_told(stderr: str) -> int:
    """The number in the line `done ... N frames in ...`."""
    _, _, line = stderr.partition("done ")
    words, _, _ = line.partition(" frames in")
    return int(words.split()[-1])
