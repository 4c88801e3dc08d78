"""Files of the server: atomic records, sizes, free space, harmless names."""

import os
import re
import shutil
import unicodedata
from pathlib import Path

from sdvsr_jax.atomic import atomic_write

NAME_LENGTH = 80
"""Characters; with a suffix and the work folder's own words it stays below the 255
bytes that file systems take, in every script.
"""


def write_record(path: Path, text: str) -> None:
    """Put a small file in place, complete or not at all, also across a power cut."""
    with atomic_write(path) as part:
        part.write_text(text, "utf-8")


def size_of_folder(folder: Path) -> int:
    """Returns the bytes of all files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            # A job may remove its temporary files while they are counted.
            try:
                total += os.lstat(path).st_size
            except FileNotFoundError:
                continue
    return total


def free_space(folder: Path) -> int:
    """Returns the bytes that can still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


def harmless_name(name: str) -> str:
    """Returns a file name's stem that is safe on every system, never empty.

    Letters and digits of every script, dot, dash and underscore stay.
    """
    # a browser on Windows may send the other slash
    last = re.split(r"[/\\]", name)[-1]
    stem, _ = os.path.splitext(last)
    # An accent of its own, as macOS writes it, is no letter to the expression below.
    composed = unicodedata.normalize("NFC", stem)
    plain = re.sub(r"[^\w.-]+", "_", composed)
    return plain.strip("._-")[:NAME_LENGTH] or "video"


def harmless_suffix(name: str) -> str:
    """Returns the suffix of a file name, such as .mp4, or nothing if it is strange."""
    _, ending = os.path.splitext(name)
    suffix = ending.lower()
    is_plain = re.fullmatch(r"\.[a-z0-9]{1,8}", suffix)
    return suffix if is_plain else ""
