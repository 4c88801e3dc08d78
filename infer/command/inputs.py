"""Which inputs a command line stands for: files, and folders of frames or videos."""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from infer.console import say
from infer.sources.images import list_images
from sdvsr_jax.atomic import kind_of
from sdvsr_jax.video_names import VIDEO_SUFFIXES

# A file name that ends in a number: a frame, rather than a cover.
NUMBERED = re.compile(r"[0-9]\.[^.]*$")
# With more numbered images than that for every video a folder is one of frames, and the
# videos in it are previews of them.
FRAMES_PER_VIDEO = 10
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "memory", "sftp", "webdav", "hdfs")
"""Of names that fsspec reaches."""


def is_remote(path: str | None) -> bool:
    """Whether a name is that of a file or folder that fsspec reaches."""
    scheme, mark, _ = (path or "").partition("://")
    return bool(mark) and scheme in SCHEMES


@dataclass(frozen=True)
class Input:
    """One job of a batch. folder: of the command line, through which it was found;
    '' if it was named itself.
    """

    path: str
    folder: str = ""


def find_inputs(paths: Iterable[str], recursive: bool = False) -> list[Input]:
    """Files and folders of frames as they are; a folder of videos stands for them.

    recursive: its subfolders are looked at in the same way, hidden ones not.
    """
    inputs: dict[str, Input] = {}
    for path in paths:
        items = [Input(path)]
        if os.path.isdir(path):
            items = _find_in(path, path, recursive) or items
        for item in items:
            inputs.setdefault(os.path.realpath(item.path), item)
    return list(inputs.values())


def check_kind(path: str) -> None:
    """Raises ValueError if something is there, and neither a file nor a folder."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return  # told where it is opened
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = kind_of(mode)
        raise ValueError(
            f"{path}: is {kind}, expected a file or a folder; what a pipe says is read "
            "by --video - < PIPE"
        )


def _find_in(folder: str, top: str, recursive: bool) -> list[Input]:
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    paths = [os.path.join(folder, name) for name in sorted(names)]
    videos = [path for path in paths if _is_video(path)]
    subfolders = [path for path in paths if os.path.isdir(path)]
    images = list_images(folder)
    inputs: list[Input] = []
    if images and _are_frames(images, videos):
        origin = "" if folder == top else top
        inputs.append(Input(folder, origin))
        _say_left_out(folder, videos, "videos beside frames")
    else:
        inputs += [Input(path, top) for path in videos]
        if videos:
            _say_left_out(folder, images, "images beside videos")
    if recursive:
        for path in subfolders:
            inputs += _find_in(path, top, recursive)
    elif subfolders and videos:
        _say_left_out(folder, subfolders, "subfolders (--recursive looks into them)")
    elif subfolders and not images:
        raise ValueError(
            f"{folder}: no videos or images in it but {len(subfolders)} subfolders; "
            "give --recursive to look into them"
        )
    return inputs


def _is_video(path: str) -> bool:
    has_suffix = path.lower().endswith(VIDEO_SUFFIXES)
    return has_suffix and not os.path.isdir(path)


def _are_frames(images: list[str], videos: list[str]) -> bool:
    """Whether a folder is one of frames; a film with a cover picture is a film."""
    numbered = [path for path in images if NUMBERED.search(path)]
    return not videos or len(numbered) > FRAMES_PER_VIDEO * len(videos)


def _say_left_out(folder: str, paths: list[str], kind: str) -> None:
    count = len(paths)
    if count:
        say(f"note     {folder}: left out: {count} {kind}")
