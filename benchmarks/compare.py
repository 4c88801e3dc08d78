"""Beside PyTorch: the same graph, the same weights, the same frames, timed in turn; outputs compared.

`nano` is compared with its restatement in plain PyTorch (benchmarks/torch_nano.py), the published model with
diffusers and torchvision (benchmarks/torch_published.py): eager in float32 (TF32 on a GPU, as published), eager in
bfloat16, and compiled. The error is rms(difference) / rms(float32 output of JAX), of the frame after the first.
"""

import dataclasses
import functools
import importlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import configure, parser
from benchmarks.report import table, write
from benchmarks.timing import alternate, machine, spread
from sdvsr_jax import checkpoint, init_state, prepare, step
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.types import Params

KINDS = ("eager float32", "eager bfloat16", "compiled float32", "compiled bfloat16")

COLUMNS = {
    "run": "run", "first_call_s": "first call s", "median_ms": "median ms", "frames_per_s": "frames/s",
    "times_ours": "time / ours", "error": "error", "note": "note",
}  # fmt: skip


class Inputs(NamedTuple):
    """Two LR frames [1, h, w, 3], the noise of the second, and the first's output, all numpy."""

    before: np.ndarray
    now: np.ndarray
    noise: np.ndarray
    prev_sr: np.ndarray


def weights(config: ModelConfig) -> Params:
    """Of the shipped model where it has this config's shapes, else random ones of moderate gain."""
    if config.name in checkpoint.shipped():
        return checkpoint.load(config.name)[1]
    rng = np.random.default_rng(0)

    def leaf(path: tuple, a: Any) -> np.ndarray:
        kind = str(path[-1].key) if path else ""
        if kind in ("scale", "running_var"):
            return np.ones(a.shape, np.float32)
        gain = 0.7 / np.sqrt(np.prod(a.shape[:-1])) if kind == "kernel" else 0.02
        return np.asarray(rng.standard_normal(a.shape, np.float32) * np.float32(gain))

    return jax.tree_util.tree_map_with_path(leaf, abstract_params(config))


def ours(config: ModelConfig, params: Params, frames: np.ndarray) -> tuple[Callable[[], jax.Array], Inputs]:
    """Our step on the second frame, ready to be timed, and what the other side needs for the same."""
    prepared = jax.jit(prepare, static_argnums=1)(params, config)
    height, width = frames.shape[2:4]
    noise = np.random.default_rng(1).standard_normal((1, height, width, config.unet.latent_channels), np.float32)
    run = jax.jit(functools.partial(step, config=config))
    state, _ = run(prepared, init_state(config, 1, height, width), jnp.asarray(frames[0]), noise=noise)
    now = jnp.asarray(frames[1])
    inputs = Inputs(frames[0], frames[1], noise, np.asarray(state.prev_sr))
    return lambda: run(prepared, state, now, noise=noise)[1], inputs


def nchw(x: np.ndarray, device: str) -> Any:
    """A tensor in the same memory order, which PyTorch calls channels last."""
    import torch

    return torch.from_numpy(x).to(device).permute(0, 3, 1, 2)


def theirs(config: ModelConfig, params: Params, kind: str, inputs: Inputs, device: str) -> Callable[[], Any]:
    """The same frame in PyTorch; a call returns the frame on the host's side of the queue, NCHW."""
    torch = importlib.import_module("torch")
    form, precision = kind.split()
    dtype = getattr(torch, precision)
    wrap = torch.compile if form == "compiled" else (lambda f: f)
    before, now, noise, prev_sr = (nchw(x, device) for x in inputs)
    if config.name == "nano":
        from benchmarks import torch_nano as nano

        prepared = jax.jit(prepare, static_argnums=1)(params, dataclasses.replace(config, compute_dtype="float32"))
        p = {k: nano.from_jax(v, device, torch.float32 if k == "flow" else dtype) for k, v in prepared.items()}
        assert hasattr(config.flow, "num_levels")
        state = nano.State(before, prev_sr, nano.flow_features(p["flow"], before, config.flow.num_levels))
        run = wrap(functools.partial(nano.step, config=config, coefficients=nano.schedule(config)))
        return lambda: run(p, state, now, noise)[1]
    from benchmarks import torch_published as published

    nets = published.networks(config, params, device, dtype)
    nets = nets._replace(unet=wrap(nets.unet), controlnet=wrap(nets.controlnet), raft=wrap(nets.raft))
    pipeline = published.Pipeline(nets, config)
    return lambda: pipeline.frame(now, noise, before, prev_sr)


def measure(name: str, width: int, height: int, kinds: list[str], num_frames: int) -> list[dict[str, Any]]:
    """One row for JAX in each precision and one per PyTorch kind; our steady time is the ratio's reference."""
    torch = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    base = configure(name)
    params, frames = weights(base), clip(width, height)
    run, inputs = ours(base, params, frames)
    exact = np.asarray(run())
    runs: dict[str, Callable[[], Any]] = {"JAX float32": run}
    if any("bfloat16" in kind for kind in kinds):
        runs["JAX bfloat16"] = ours(configure(name, "bfloat16"), params, frames)[0]
    rows: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        for kind in kinds:
            try:
                call = theirs(base, params, kind, inputs, device)
                runs[f"PyTorch {kind}"] = functools.partial(finished, call, torch, device)
            except Exception as error:  # a library or a compiler that is not there: the other rows still stand
                rows[f"PyTorch {kind}"] = {"note": f"{type(error).__name__}: {error}".splitlines()[0][:100]}
        for label in list(runs):
            start = time.perf_counter()
            try:
                out = jax.block_until_ready(runs[label]())
            except Exception as error:
                rows[label] = {"note": f"{type(error).__name__}: {error}".splitlines()[0][:100]}
                del runs[label]
                continue
            first = time.perf_counter() - start
            found = np.asarray(out) if label.startswith("JAX") else np.moveaxis(out.float().cpu().numpy(), 1, -1)
            error = float(np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)))
            rows[label] = {"first_call_s": first, "error": error}
            runs[label]()
        times = alternate(runs, num_frames)
    reference = {p: spread(times[f"JAX {p}"])["median_ms"] for p in ("float32", "bfloat16") if f"JAX {p}" in times}
    for label, seconds in times.items():
        ms = spread(seconds)["median_ms"]
        ratio = ms / reference.get(label.split()[-1], reference["float32"])
        rows[label] |= {"median_ms": ms, "frames_per_s": 1e3 / ms, "times_ours": ratio}
    return [{"run": label, **row} for label, row in rows.items()]


def finished(call: Callable[[], Any], torch: Any, device: str) -> Any:
    """The result once the device has it."""
    out = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return out


def clip(width: int, height: int) -> np.ndarray:
    """Two frames of a smooth texture that moves by a pixel, [2, 1, h, w, 3] in [-1, 1]."""
    y, x = np.mgrid[:height, : width + 1]
    waves = [np.sin(0.31 * x + 0.17 * y + c) * np.sin(0.07 * x - 0.23 * y) for c in range(3)]
    canvas = np.stack(waves, -1).astype(np.float32)
    return np.stack([canvas[None, :, 1:], canvas[None, :, :-1]])


def main(arguments: list[str]) -> None:
    """One table per model and size."""
    options = parser("compare", __doc__)
    options.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    chosen = options.parse_args(arguments)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise SystemExit("compare: PyTorch is not installed here, nothing to compare with") from None
    facts = machine() | {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}
    found = {}
    for name in chosen.models:
        for width, height in chosen.sizes:
            title = f"{name} {width}x{height}"
            found[title] = measure(name, width, height, chosen.kinds, chosen.frames)
            print(f"\n{title}, {facts}\n\n{table(found[title], COLUMNS)}", flush=True)
    write(chosen.json, {"machine": facts, "compare": found})
