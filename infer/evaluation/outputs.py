"""Files of results: written whole, and in the place of earlier results only."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from infer.targets import check_not_used, check_replaceable, is_report
from sdvsr_jax.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_MARK = {"Software": "sdvsr_jax evaluate"}
"""The text in every picture of results: a later run may replace such a file."""
TABLE_HEAD = ("condition", "clip", "row", "frame")
"""First columns of every table of results."""


def check_outputs(
    outputs: Iterable[tuple[str, Path]], inputs: Iterable[Path], overwrite: bool
) -> None:
    """Raises ValueError before the work if a file may not be written.

    outputs: the option and the file of each.
    """
    # a list, because every file is compared with all others
    pairs = list(outputs)
    used = [str(path) for path in inputs]
    for option, path in pairs:
        target = str(path)
        others = [str(other) for name, other in pairs if name != option]
        check_not_used(target, used + others, option)
        check_replaceable(target, overwrite, option, _is_result)


def write_text(path: Path, text: str) -> None:
    """Writes a file of words or numbers."""
    with atomic_write(path) as part:
        part.write_text(text, "utf-8")


def write_picture(path: Path, picture: Image.Image) -> None:
    """Writes a picture with our mark."""
    words = PngInfo()
    for name, text in PICTURE_MARK.items():
        words.add_text(name, text)
    with atomic_write(path) as part:
        picture.save(part, "PNG", pnginfo=words)


def write_figure(path: Path, figure: "Figure") -> None:
    """Writes a plot with our mark."""
    metadata: Any = PICTURE_MARK
    with atomic_write(path) as part:
        figure.savefig(part, format="png", metadata=metadata)


def _is_result(path: Path) -> bool:
    suffix = path.suffix.lower()
    kinds = {".png": _is_picture, ".csv": _is_table}
    is_ours = kinds.get(suffix, is_report)
    return is_ours(path)


def _is_picture(path: Path) -> bool:
    # Whatever the user has under this name, so opening it must not raise.
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return PICTURE_MARK.items() <= picture.info.items()
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return False


def _is_table(path: Path) -> bool:
    head = ",".join(TABLE_HEAD).encode()
    with open(path, "rb") as file:
        return file.read(len(head)) == head


def pictures_of(compare: Path, label: str) -> dict[str, Path]:
    """The files of one comparison by their content: strip, time slice and sheet."""
    stem = os.path.join(compare.parent, compare.stem + label)
    return {
        "strip": Path(f"{stem}.png"),
        "time slice": Path(f"{stem}_xt.png"),
        "sheet": Path(f"{stem}_sheet.png"),
    }
