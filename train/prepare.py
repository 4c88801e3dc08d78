"""Make a training dataset from video files, photographs, REDS or Vimeo-90K.

    python -m train.prepare ~/clips --out data/train
    python -m train.prepare ~/REDS/train_sharp --out data/reds --dataset reds
    python -m train.prepare --out data/train --pack data/train.npy --windows 2000 \
        --frames 8 --size 128

Writes ArrayRecords, lists the files that it had to skip, and draws a contact sheet of
LR/HR pairs to look at.
"""

import dataclasses
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from configs import DataConfig, Degradation
from train import command
from train.data.batch import Picture


@dataclass(frozen=True)
class Prepare:
    """Build a dataset (when SOURCE is given), draw its contact sheet, and optionally
    pack it into one file.
    """

    source: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder with the files; without it an already built --out is used."""
    out: Path = Path("data/train")
    """Folder of the dataset."""
    dataset: Literal["video_folder", "reds", "vimeo90k"] = "video_folder"
    validation: float = 0.1
    """Share of the files held out (REDS and Vimeo-90K have their own lists)."""
    shrink: float = 2.0
    """Clips are reduced by this, so that their compression does not become ground
    truth; 1 for clean sources.
    """
    trim: float = 0.0
    """Cut this share of every side of clips away (burned-in text)."""
    max_frames: int = 32
    """Longest shot; training windows cannot be longer without mirroring."""
    min_side: int = 160
    """Smaller frames are skipped."""
    lossless: bool = False
    """Store clip frames as PNG instead of JPEG quality 98."""
    sheet: Path | None = None
    """Contact sheet; default OUT/contact_sheet.png."""
    pack: Path | None = None
    """Also write windows into this single .npy file."""
    pack_split: str = "train"
    windows: int = 1000
    frames: int = 8
    size: int = 128
    """HR side of a packed window."""
    degradation: Degradation = "bicubic"
    """Of the packed windows; other than bicubic, their LR frames are written beside
    them (NAME.lr.npy).
    """
    rendered: float = 0.0
    """Share of drawn text and graphics among the packed windows."""
    static: float = 0.0
    """Share of frozen pictures among them, with noise and compression of their own in
    every frame.
    """
    candidates: int = 1
    """Crops that each packed window is chosen from, by its detail: most of a photograph
    is smooth.
    """
    seed: int = 0


def build(settings: Prepare, console: Console) -> None:
    """Build the dataset and print its contents and the files that were skipped.
    ValueError when nothing is usable.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("reading")

        def show(name: str) -> None:
            # brackets in a file's name are no orders
            progress.update(task, advance=1, description=escape(name[-40:]))

        builder = _builder(settings, show)
        progress.update(task, total=len(builder.items))
        if Path(builder.data_path).exists():
            raise ValueError(
                f"{builder.data_path} already exists: remove it, or choose another "
                "--out"
            )
        builder.download_and_prepare()
    _report(builder, console)


def _builder(settings: Prepare, on_item):
    from train.datasets.reds import Reds
    from train.datasets.video_folder import VideoFolder
    from train.datasets.vimeo90k import Vimeo90k

    common = {"source": settings.source, "data_dir": settings.out, "on_item": on_item}
    if settings.dataset == "reds":
        return Reds(**common)
    if settings.dataset == "vimeo90k":
        return Vimeo90k(**common)
    names = ("shrink", "trim", "max_frames", "min_side", "lossless", "validation")
    return VideoFolder(**common, **{name: getattr(settings, name) for name in names})


def _report(builder, console: Console) -> None:
    table = Table(title=f"{builder.name}: {builder.data_path}")
    table.add_column("split")
    for column in ("files", "shots", "frames"):
        table.add_column(column, justify="right")
    for split, counts in builder.counts.items():
        numbers = (counts["items"], counts["shots"], counts["frames"])
        table.add_row(split, *map(str, numbers))
    console.print(table)
    colon = ":" if builder.skipped else ""
    console.print(f"skipped {len(builder.skipped)} bad files{colon}")
    for name, reason in builder.skipped:
        console.print(f"  {name}: {reason}", markup=False)


def contact_sheet(data: DataConfig, seed: int, rows: int = 6) -> Picture:
    """uint8[h,w,3] picture: per row one window, first/middle/last frame as LR (nearest
    x4) beside HR.
    """
    from train.data.pipeline import GrainBatches

    batches = GrainBatches(data, seed)
    try:
        lines = []
        while len(lines) < rows:
            batch = next(batches)
            assert batch.lr is not None
            lines += [_sheet_row(hr, lr) for hr, lr in zip(batch.hr, batch.lr)]
        return np.concatenate(lines[:rows])
    finally:
        batches.close()


def _sheet_row(hr: np.ndarray, lr: np.ndarray) -> np.ndarray:
    last = len(hr) - 1
    pictures = []
    for index in (0, len(hr) // 2, last):
        enlarged = lr[index].repeat(4, 0).repeat(4, 1)
        pictures += [enlarged, hr[index]]
    return np.concatenate(pictures, 1)


def draw_sheet(settings: Prepare, console: Console) -> None:
    """Bicubic pairs above, blind pairs below."""
    from PIL import Image

    path = settings.sheet or settings.out / "contact_sheet.png"
    data = DataConfig(
        path=str(settings.out),
        frames=5,
        crop=min(48, settings.min_side // 4),
        batch_size=1,
    )
    blind = dataclasses.replace(data, degradation="blind")
    none = (0, 0)
    parts = []
    for kind in (data, blind):
        sheet = contact_sheet(kind, settings.seed)
        parts.append(np.pad(sheet, ((0, 8), none, none)))
    Image.fromarray(np.concatenate(parts)).save(path)
    console.print(
        "contact sheet (LR | HR, first, middle and last frame; bicubic above, blind "
        f"below): {path}"
    )


def pack(settings: Prepare, console: Console) -> None:
    """Write --windows windows of --pack-split into the file --pack.

    At most eight in a row from a shot, and fewer where that leaves out shots.
    """
    from train.data.frame_cache import open_source
    from train.data.packed import write_packed
    from train.data.pipeline import GrainBatches

    assert settings.pack is not None
    path = str(settings.out)
    split = settings.pack_split
    num_shots = len(open_source(path, split))
    visits = settings.windows // max(num_shots, 1)
    data = DataConfig(
        path=path,
        split=split,
        visits=int(np.clip(visits, 1, DataConfig.visits)),
        frames=settings.frames,
        crop=settings.size // 4,
        batch_size=1,
        flip=0.0,
        reverse=0.0,
        degradation=settings.degradation,
        rendered=settings.rendered,
        static=settings.static,
        candidates=settings.candidates,
    )
    batches = GrainBatches(data, settings.seed)
    try:
        with Progress(console=console) as progress:
            task = progress.add_task("packing", total=settings.windows)
            numbers = progress.track(range(settings.windows), task_id=task)
            shape = write_packed(
                settings.pack,
                (next(batches) for _ in numbers),
                settings.windows,
                with_lr=settings.degradation != "bicubic",
            )
    finally:
        batches.close()
    mebibytes = settings.pack.stat().st_size / 2**20
    console.print(f"packed {list(shape)} uint8, {mebibytes:.0f} MiB: {settings.pack}")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, 1 (failed), 2 (bad usage, from tyro), 130 (interrupted)."""
    settings = tyro.cli(
        Prepare,
        args=arguments,
        prog="python -m train.prepare",
        description=__doc__,
    )
    return command.run(partial(_prepare, settings))


def _prepare(settings: Prepare) -> None:
    from train.data.packed import lr_path

    console = Console()
    if settings.pack:
        # the second one is written for degradations other than bicubic
        for path in (settings.pack, lr_path(settings.pack)):
            command.require_new(path, "--pack")
    if settings.source is not None:
        build(settings, console)
        draw_sheet(settings, console)
    if settings.pack:
        pack(settings, console)
    if settings.source is None and not settings.pack:
        draw_sheet(settings, console)


if __name__ == "__main__":
    raise SystemExit(main())
