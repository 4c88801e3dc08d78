"""`python -m infer evaluate`: how good is a model on a clip, beside bicubic.

    python -m infer evaluate --hr clips/walk clips/city.mp4 --json result.json --compare
    look.png python -m infer evaluate --hr walk --sr walk_sr.mp4 python -m infer
    evaluate --hr walk --ablate --drift python -m infer evaluate --lr old_film.mp4
    --compare look.png

With HR alone the LR is made by the standard bicubic and the model is run; with HR and
SR the SR is judged; with LR alone only the metrics that need no ground truth are.
docs/evaluation.md states every convention.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from infer.evaluation import pictures as pictures
from infer.evaluation.clips import Clip, with_hr, without_hr
from infer.evaluation.drift import drift
from infer.evaluation.measure import Judge, make_judge, measure
from infer.evaluation.methods import Model, bicubic, load_models, upscale
from infer.evaluation.report import Results, print_table, write_csv, write_json
from sdvsr_jax.metrics import flow


@dataclass(frozen=True)
class Evaluate:
    """Measure super-resolution beside bicubic."""

    hr: tuple[Path, ...] = ()
    """Ground truth: videos or folders of images."""
    sr: tuple[Path, ...] = ()
    """Finished results to judge, one per HR clip, instead of running a model."""
    lr: tuple[Path, ...] = ()
    """Real low-quality clips without ground truth."""
    model: tuple[str, ...] = ("nano",)
    """Shipped name, file, folder or hub id; several are compared."""
    frames: int = 0
    """Only the first so many frames; 0: all."""
    steps: int | None = None
    """Denoising steps; default the model's own."""
    guidance: bool = True
    """Without: ARTG switched off."""
    tpm: bool = True
    """Without: temporal processor modules switched off."""
    ablate: bool = False
    """Add rows with fewer steps, without guidance, without TPM, with new noise every
    frame, with unrefined flow.
    """
    drift: bool = False
    """Add the drift report: the same frames young and old, and a frozen frame (needs
    HR, takes minutes).
    """
    seed: int = 0
    scale: int = 4
    """Of the LR made from HR, and of --sr."""
    lpips_net: str = "squeeze"
    """squeeze, alex or vgg16; the last two need --lpips-weights."""
    lpips_weights: Path | None = None
    dists_weights: Path | None = None
    """State dict of the DISTS authors as safetensors; without it DISTS is left out."""
    json: Path | None = None
    csv: Path | None = None
    plot: Path | None = None
    """PNG with every metric over the frames."""
    compare: Path | None = None
    """PNG with zoomed strips; beside it <name>_xt.png (x-t slice) and <name>_sheet.png
    (whole frames).
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; wrong use is a ValueError."""
    options = tyro.cli(Evaluate, args=arguments, prog="python -m infer evaluate")
    _check(options)
    judge = make_judge(options.lpips_net, options.lpips_weights, options.dists_weights)
    models = {} if options.sr else _models(options)
    results: Results = {}
    ages: dict[str, Any] = {}
    for clip in _clips(options):
        rows = _rows(clip, models, options)
        results[clip.name] = measure(clip, rows, options.scale, judge)
        _look(clip, rows, options, single=len(options.hr + options.lr) == 1)
        if options.drift:
            ages[clip.name] = {
                name: drift(clip, model, judge) for name, model in models.items()
            }
    _report(options, results, ages, judge)
    return 0


def _check(options: Evaluate) -> None:
    if bool(options.hr) == bool(options.lr):
        raise ValueError(
            "expected --hr (with ground truth) or --lr (without), and not both"
        )
    if options.sr and len(options.sr) != len(options.hr):
        raise ValueError(
            f"--sr has {len(options.sr)} clips and --hr {len(options.hr)}: give one SR per HR clip"
        )
    if options.frames < 0:
        raise ValueError(f"--frames {options.frames}: expected 0 (all) or more")
    if options.drift and (options.sr or not options.hr):
        raise ValueError(
            "--drift runs the model on ground truth: use it with --hr and without --sr"
        )
    for path in (options.plot, options.compare):
        if path is not None and path.suffix.lower() != ".png":
            raise ValueError(f"{path}: pictures are written as .png")
    for path in (options.json, options.csv, options.plot, options.compare):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{path}: the folder {path.parent} does not exist")
    names = [path.stem for path in options.hr + options.lr]
    if len(set(names)) != len(names):
        raise ValueError(f"clips {names}: names must differ, the table is by name")


def _models(options: Evaluate) -> dict[str, Model]:
    models = load_models(
        options.model,
        num_steps=options.steps,
        guidance=options.guidance,
        tpm=options.tpm,
        ablate=options.ablate,
    )
    for name, (config, _) in models.items():
        if config.scale != options.scale:
            raise ValueError(
                f"{name} is a {config.scale}x model, but --scale is {options.scale}"
            )
    return models


def _clips(options: Evaluate):
    for path in options.lr:
        yield without_hr(path, options.frames)
    for path, sr in zip(options.hr, options.sr or (None,) * len(options.hr)):
        yield with_hr(path, sr, options.frames, options.scale)


def _rows(clip: Clip, models: dict[str, Model], options: Evaluate) -> dict:
    rows = {"bicubic": bicubic(clip.lr, options.scale)}
    if clip.sr is not None:
        rows["SR"] = clip.sr
    for name, model in models.items():
        rows[name] = upscale(clip.lr, model, options.seed)
    return rows


def _look(clip: Clip, rows: dict, options: Evaluate, single: bool) -> None:
    if options.compare is None:
        return
    shown = pictures.pictures(clip, rows, options.scale)
    count = len(clip.lr)
    frames = sorted({min(5, count - 1), count // 2, count - 1})
    stem = options.compare.stem if single else f"{options.compare.stem}_{clip.name}"
    pictures.strip(shown, frames).save(options.compare.with_name(f"{stem}.png"))
    pictures.time_slice(shown).save(options.compare.with_name(f"{stem}_xt.png"))
    pictures.sheet(shown, frames[-1:]).save(
        options.compare.with_name(f"{stem}_sheet.png")
    )


def _report(
    options: Evaluate, results: Results, ages: dict[str, Any], judge: Judge
) -> None:
    protocol = _protocol(options, judge)
    print_table(results, protocol)
    for clip, rows in ages.items():
        for row, numbers in rows.items():
            text = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
            Console().print(
                f"drift of {row} on {clip} (LPIPS): {text}", highlight=False
            )
    if options.json:
        write_json(options.json, results, protocol, {"drift": ages} if ages else {})
    if options.csv:
        write_csv(options.csv, results)
    if options.plot:
        pictures.curves(results).save(options.plot)


def _protocol(options: Evaluate, judge: Judge) -> dict[str, Any]:
    source = (
        "the clip itself"
        if options.lr
        else f"antialiased bicubic 1/{options.scale} of HR, 8 bit"
    )
    return {
        "LR": source,
        "PSNR-Y, SSIM-Y": f"BT.601 luma of 8-bit frames, {options.scale} pixels cropped at every edge",
        "LPIPS, tLP": f"v0.1, net {judge.net}",
        "DISTS": "on" if "dists" in judge.weights else "left out: no --dists-weights",
        "tOF, E*warp": f"flow of {'bicubic' if options.lr else 'HR'} by {flow.NAME}, occlusions masked for E*warp",
        "LR dB": "PSNR (RGB) of the downscaled 8-bit SR against LR",
        "colour": "largest difference of a mean colour from bicubic's",
        "seed": options.seed,
    }
