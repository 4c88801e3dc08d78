"""`python -m infer evaluate`: how good is a model on a clip, beside bicubic.

    python -m infer evaluate --hr clips/walk clips/city.mp4 --json result.json
    python -m infer evaluate --hr clips/walk --degrade clean h264:28 noise:10+h264:28
    python -m infer evaluate --hr walk --sr walk_sr.mp4
    python -m infer evaluate --hr walk --ablate --drift
    python -m infer evaluate --lr old_film.mp4 --compare look.png

With HR alone the LR is made by the standard bicubic, degraded where --degrade says so,
and the model is run; with HR and SR the SR is judged; with LR alone only the metrics
that need no ground truth are. docs/evaluation.md states every convention.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from infer.console import printable, say
from infer.evaluation import codecs, curves, pictures
from infer.evaluation.clips import Clip, Size, with_hr, without_hr
from infer.evaluation.conditions import Condition, degrade, parse_condition
from infer.evaluation.drift import drift
from infer.evaluation.measure import (
    FLAT_LIMIT,
    METRICS,
    Case,
    Judge,
    Truth,
    make_judge,
    measure,
)
from infer.evaluation.methods import Model, Upscalers, bicubic, load_models
from infer.evaluation.outputs import (
    check_outputs,
    pictures_of,
    write_figure,
    write_picture,
)
from infer.evaluation.report import Results, print_table, write_csv, write_json
from infer.model import compiled_cache
from sdvsr_jax.metrics import flow

OFFSETS_OF_DEGRADED = (0, 1, 2, 3)
"""One offset for each pixel of a cell of 4x4, and for the stride of SqueezeNet."""


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
    degrade: tuple[str, ...] = ()
    """Conditions of the input, one table over all: clean, or parts joined by "+" such
    as h264:28, noise:10+h264:28, blur:2+h264:28, h264:23+h264:30. Codecs: h264, hevc,
    vp9, av1 by CRF; mpeg4, mpeg2, mjpeg by quantiser.
    """
    frames: int = 0
    """Only the first so many frames; 0: all."""
    crop: str = ""
    """WIDTHxHEIGHT of HR, from the middle of the frame."""
    metrics: tuple[str, ...] = ()
    """Only these: psnr_y ssim_y lpips dists niqe tlp tof warping lr_psnr clean_psnr
    colour phase phase_flat jump. Default: all.
    """
    offsets: tuple[int, ...] = ()
    """LPIPS is the mean over crops that begin at (o, o). Default: 0, and 0 1 2 3 with
    --degrade.
    """
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
    overwrite: bool = False
    """Replace files that are no results of an earlier run, too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; wrong use is a ValueError."""
    options = tyro.cli(Evaluate, args=arguments, prog="python -m infer evaluate")
    _check(options)
    compiled_cache.use()
    conditions = [parse_condition(text) for text in options.degrade]
    judge = make_judge(
        options.lpips_net,
        options.lpips_weights,
        options.dists_weights,
        _offsets(options),
        options.metrics,
    )
    models = {} if options.sr else _models(options)
    upscale = Upscalers()
    results: Results = {name: {} for name in options.degrade or ("",)}
    ages: dict[str, Any] = {}
    for clip in _clips(options):
        truth = None if clip.hr is None else Truth(clip.hr)
        for name, case in _cases(clip, truth, conditions, models, upscale, options):
            results[name][clip.name] = measure(case, options.scale, judge)
            say(f"judged   {clip.name} {name}".rstrip())
            # numbers so far survive an interruption of the hours that follow
            _write_files(options, results, judge)
            label = _label(clip.name, name, options)
            _save_pictures(case, label, options)
            if options.drift and truth is not None:
                ages[f"{clip.name} {name}".strip()] = {
                    row: drift(truth.hr, case.lr, model, judge, upscale)
                    for row, model in models.items()
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
            f"--sr has {len(options.sr)} clips and --hr {len(options.hr)}: give one SR "
            "per HR clip"
        )
    if options.frames < 0:
        raise ValueError(f"--frames {options.frames}: expected 0 (all) or more")
    if options.steps is not None and options.steps < 1:
        raise ValueError(f"--steps {options.steps}: expected at least 1")
    if options.drift and not _upscales_truth(options):
        raise ValueError(
            "--drift runs the model on ground truth: use it with --hr and without --sr"
        )
    _check_degraded(options)
    _check_metrics(options)
    _check_paths(options)


def _upscales_truth(options: Evaluate) -> bool:
    """Does the model run, on an input that is made from ground truth?"""
    return bool(options.hr) and not options.sr


def _check_degraded(options: Evaluate) -> None:
    if options.degrade and not _upscales_truth(options):
        raise ValueError(
            "--degrade makes the model's input from ground truth: use it with --hr and "
            "without --sr"
        )
    if len(set(options.degrade)) != len(options.degrade):
        raise ValueError(f"--degrade {' '.join(options.degrade)}: conditions repeat")
    if options.crop and not _upscales_truth(options):
        raise ValueError("--crop cuts the ground truth: use it with --hr, without --sr")


def _check_metrics(options: Evaluate) -> None:
    unknown = set(options.metrics) - set(METRICS)
    if unknown:
        raise ValueError(
            f"--metrics {' '.join(sorted(unknown))}: expected some of "
            f"{' '.join(METRICS)}"
        )
    if any(offset < 0 for offset in options.offsets):
        raise ValueError(f"--offsets {options.offsets}: expected 0 or more")


def _check_paths(options: Evaluate) -> None:
    if options.plot is not None:
        curves.check_installed()
    for path in (options.plot, options.compare):
        if path is not None and path.suffix.lower() != ".png":
            raise ValueError(f"{path}: pictures are written as .png")
    for path in (options.json, options.csv, options.plot, options.compare):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{path}: the folder {path.parent} does not exist")
    names = [path.stem for path in options.hr + options.lr]
    if len(set(names)) != len(names):
        raise ValueError(f"clips {names}: names must differ, the table is by name")
    inputs = [*options.hr, *options.lr, *options.sr]
    check_outputs(_outputs(options, names), inputs, options.overwrite)


def _outputs(options: Evaluate, names: list[str]) -> Iterator[tuple[str, Path]]:
    """Option and name of every file that will be written."""
    for option in ("json", "csv", "plot"):
        path = getattr(options, option)
        if path is not None:
            yield f"--{option}", path
    if options.compare is None:
        return
    for name in names:
        for condition in options.degrade or ("",):
            label = _label(name, condition, options)
            for path in pictures_of(options.compare, label).values():
                yield "--compare", path


def _offsets(options: Evaluate) -> tuple[int, ...]:
    if options.offsets:
        return options.offsets
    return OFFSETS_OF_DEGRADED if options.degrade else (0,)


def _crop(options: Evaluate) -> Size | None:
    if not options.crop:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", options.crop)
    if match is None:
        raise ValueError(f"--crop {options.crop}: expected WIDTHxHEIGHT, as 480x384")
    width, height = match.groups()
    return int(height), int(width)


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


def _clips(options: Evaluate) -> Iterator[Clip]:
    for path in options.lr:
        yield without_hr(path, options.frames)
    crop = _crop(options)
    results = options.sr or (None,) * len(options.hr)
    for path, sr in zip(options.hr, results):
        yield with_hr(path, sr, options.frames, options.scale, crop)


def _cases(
    clip: Clip,
    truth: Truth | None,
    conditions: list[Condition],
    models: dict[str, Model],
    upscale: Upscalers,
    options: Evaluate,
) -> Iterator[tuple[str, Case]]:
    """The clip under every condition by its name; under "" as it is, without any."""
    if truth is None or not conditions:
        rows = _rows(clip.lr, models, upscale, options)
        if clip.sr is not None:
            rows["SR"] = clip.sr
        intra = np.zeros(len(clip.lr), bool)
        case = Case(rows, clip.lr, None, intra, truth)
        yield "", case
        return
    for condition in conditions:
        lr, intra = degrade(truth.hr, condition, options.scale)
        rows = _rows(lr, models, upscale, options)
        case = Case(rows, lr, clip.lr, intra, truth)
        yield condition.name, case


def _rows(
    lr: np.ndarray, models: dict[str, Model], upscale: Upscalers, options: Evaluate
) -> dict[str, np.ndarray]:
    rows = {"bicubic": bicubic(lr, options.scale)}
    for name, model in models.items():
        rows[name] = upscale(lr, model, options.seed)
    return rows


def _label(clip: str, condition: str, options: Evaluate) -> str:
    """The end of a picture's file name; empty where there is one case only."""
    parts = []
    if len(options.hr + options.lr) > 1:
        parts.append(clip)
    if len(options.degrade) > 1:
        parts.append(re.sub(r"[^a-z0-9.]+", "_", condition))
    marked = [f"_{part}" for part in parts]
    return "".join(marked)


def _save_pictures(case: Case, label: str, options: Evaluate) -> None:
    if options.compare is None:
        return
    hr = None if case.truth is None else case.truth.hr
    columns = pictures.columns_of(case.lr, case.rows, hr, options.scale)
    num_frames = len(case.lr)
    last = num_frames - 1
    middle = num_frames // 2
    # the fifth frame has a full history, the last the longest
    early = min(5, last)
    frames = sorted({early, middle, last})
    files = pictures_of(options.compare, label)
    strip = pictures.strip(columns, frames)
    write_picture(files["strip"], strip)
    time_slice = pictures.time_slice(columns)
    write_picture(files["time slice"], time_slice)
    sheet = pictures.sheet(columns, [last])
    write_picture(files["sheet"], sheet)


def _report(
    options: Evaluate, results: Results, ages: dict[str, Any], judge: Judge
) -> None:
    print_table(results, _protocol(options, judge))
    for clip, rows in ages.items():
        for row, numbers in rows.items():
            facts = [f"{name} {value:.4f}" for name, value in numbers.items()]
            text = ", ".join(facts)
            line = f"drift of {row} on {clip} (LPIPS): {text}"
            Console().print(printable(line), markup=False, highlight=False)
    extra = {"drift": ages} if ages else {}
    _write_files(options, results, judge, extra)
    if options.plot:
        write_figure(options.plot, curves.draw_curves(results))


def _write_files(
    options: Evaluate,
    results: Results,
    judge: Judge,
    extra: dict[str, Any] | None = None,
) -> None:
    """Writes the conditions that have a clip already."""
    conditions = {name: clips for name, clips in results.items() if clips}
    if options.json:
        protocol = _protocol(options, judge)
        write_json(options.json, conditions, protocol, extra or {})
    if options.csv:
        write_csv(options.csv, conditions)


def _protocol(options: Evaluate, judge: Judge) -> dict[str, Any]:
    offsets = " ".join(map(str, judge.offsets))
    flow_row = "bicubic" if options.lr else "HR"
    num_phases = options.scale**2
    protocol: dict[str, Any] = {
        "LR": f"antialiased bicubic 1/{options.scale} of HR, 8 bit",
        "PSNR-Y, SSIM-Y": f"BT.601 luma of 8-bit frames, {options.scale} pixels "
        "cropped at every edge",
        "LPIPS, tLP": f"v0.1, net {judge.net}; LPIPS: mean over crops from (o, o), "
        f"o = {offsets}",
        "DISTS": "on" if "dists" in judge.weights else "left out: no --dists-weights",
        "tOF, E*warp": f"flow of {flow_row} by {flow.NAME}, occlusions masked for "
        "E*warp",
        "LR dB": "PSNR (RGB) of the downscaled 8-bit SR against LR",
        "colour": "largest difference of a mean colour from bicubic's",
        "phase": f"standard deviation of the {num_phases} phase means of the "
        "difference from bicubic",
        "phase, flat": f"the same, differences cut off at {FLAT_LIMIT:g} levels",
        "seed": options.seed,
    }
    if options.lr:
        protocol["LR"] = "the clip itself"
    if options.degrade:
        protocol["LR"] += f"; then each condition at LR size, {codecs.DESCRIPTION}"
        protocol["clean LR dB"] = "the same against LR before it was degraded"
        protocol["I-frame jump"] = (
            "mean absolute difference from the frame before, at I-frames over elsewhere"
        )
    return protocol
