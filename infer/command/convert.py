"""`python -m infer convert`: weights from one layout to the other, and back without a
change.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from infer.console import say
from infer.targets import check_not_used, check_replaceable
from sdvsr_jax.atomic import atomic_write, move_into_place
from sdvsr_jax.weights import diffusers_layout as published
from sdvsr_jax.weights import load as checkpoint

# The file that tells a folder that this command has written from any other.
MARK = published.OUR_CONFIG


@dataclass(frozen=True)
class Options:
    """Convert weights: to one file of ours (NAME.safetensors), or to a folder in the
    published layout.

    Converting the published checkpoint once saves its text encoder (1.4 GB) being read
    at every start.
    """

    model: str
    """Shipped name, .safetensors file of ours, published folder, or hub id."""
    output: Annotated[str, tyro.conf.arg(aliases=("-o",))]
    """Ends in .safetensors: one file of ours; else a new folder in the published
    layout.
    """
    flow_weights: str | None = None
    """torchvision's RAFT-large as safetensors, where the model does not bring it."""
    offline: bool = False
    """Use the hub's local cache only."""
    overwrite: bool = False
    """Replace an existing file, or the files of a folder that this command wrote."""
    debug: bool = False
    """Show tracebacks."""


def main(arguments: list[str]) -> int:
    """The command; returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog="python -m infer convert")
    # An absolute path, so that ".." has a name of its own.
    target = Path(os.path.abspath(options.output))
    is_file = target.suffix == ".safetensors"
    check_not_used(options.output, [options.model], "--output")
    if not target.parent.is_dir():
        raise ValueError(f"{target.parent}: no such folder")
    if is_file:
        check_replaceable(options.output, options.overwrite)
    else:
        _check_folder(target, options.overwrite)
    config, params = checkpoint.load(
        options.model, flow_weights=options.flow_weights, offline=options.offline
    )
    if is_file:
        with atomic_write(target) as part:
            checkpoint.save(part, config, params)
    else:
        _write_folder(target, lambda folder: published.write(folder, config, params))
    say(f"done     {options.output}  {config.name}")
    return 0


def _check_folder(target: Path, overwrite: bool) -> None:
    """Raises ValueError unless the folder is new, empty, or of an earlier conversion.

    It is never removed, whatever the options say: there may be other files in it.
    """
    if not target.is_dir():
        check_replaceable(str(target), False)
        return
    if not any(target.iterdir()):
        return
    if not (target / MARK).is_file():
        raise ValueError(
            f"{target}: holds files that are no converted weights, expected a new or "
            "empty folder"
        )
    if not overwrite:
        raise ValueError(f"{target}: already exists; give --overwrite to replace it")


def _write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Writes all files aside, then moves each into its place in ``target``."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".converted.") as place:
        folder = Path(place)
        write(folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        files.sort()
        # The mark goes last: a folder without it is not complete.
        files.sort(key=lambda path: path.name == MARK)
        for path in files:
            final = target / path.relative_to(folder)
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.parent.is_symlink():
                raise ValueError(f"{final.parent}: is a symbolic link, not written to")
            move_into_place(path, final)
