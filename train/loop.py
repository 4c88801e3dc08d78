"""The training loop: load, step, log, validate, save; resume where a killed run
stopped.
"""

import dataclasses
import functools
import json
import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from configs import RunConfig
from sdvsr_jax.config import PRESETS, ModelConfig, RestorerConfig
from sdvsr_jax.metrics.lpips_weights import load_lpips
from sdvsr_jax.networks import init_params, init_restorer
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.types import Params
from sdvsr_jax.weights import load as checkpoint
from train import mesh as meshes
from train import validate
from train.checkpoints import open_checkpoints
from train.data.source import open_batches
from train.log import Log
from train.objectives import Context
from train.selection import guidance_from_unet, merge, select
from train.state import TrainState, init_train_state
from train.step import train_step


@dataclass
class Outcome:
    """How a run ended: 'done' or 'interrupted', its exported weights, and validation
    before and after.
    """

    status: str
    steps: int
    weights: str
    before: dict[str, float]
    after: dict[str, float]
    seconds: float


def start_model(run: RunConfig) -> tuple[ModelConfig, Params]:
    """The model the run starts from, with the run's sampling steps."""
    if run.init:
        config, params = checkpoint.load(
            run.init, flow_weights=run.flow_weights or None
        )
    elif run.model in PRESETS:
        config = PRESETS[run.model]()
        params = jax.jit(init_params, static_argnums=1)(
            jax.random.key(run.seed), config
        )
    else:
        raise ValueError(
            f"model={run.model!r}: expected one of {sorted(PRESETS)}, or give weights "
            "with --init"
        )
    if run.add_restorer and config.restorer is None:
        config = dataclasses.replace(config, restorer=RestorerConfig())
        params = params | {"restorer": init_restorer(jax.random.key(run.seed), config)}
    if run.num_timesteps:
        diffusion = dataclasses.replace(config.diffusion, num_steps=run.num_timesteps)
        config = dataclasses.replace(config, diffusion=diffusion)
    if run.data.crop % config.size_multiple or run.data.crop < config.min_size:
        raise ValueError(
            f"data.crop {run.data.crop}: expected a multiple of "
            f"{config.size_multiple}, at least {config.min_size}"
        )
    return config, guidance_from_unet(params) if run.guidance_from_unet else params


def training_config(config: ModelConfig, run: RunConfig) -> ModelConfig:
    """The model as the run computes it: precision, remat, parts left out."""
    return dataclasses.replace(
        config,
        compute_dtype=run.compute_dtype,
        remat=run.remat,
        unroll=run.unroll,
        use_guidance=config.use_guidance and run.rollout.use_guidance,
        use_tpm=config.use_tpm and run.rollout.use_tpm,
    )


def perceptual_metric(run: RunConfig) -> Params | None:
    """LPIPS parameters of the loss."""
    if not run.loss.perceptual:
        return None
    return load_lpips(run.loss.perceptual_weights or None, run.loss.perceptual_net)


class Trainer:
    """One run in `folder`: it owns mesh, compiled steps, data and files."""

    def __init__(self, run: RunConfig, folder: Path):
        self.run, self.folder = run, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.is_main = jax.process_index() == 0
        self.mesh = meshes.make_mesh(run.fsdp)
        self.config, params = self._start()
        self.context = Context(
            run, training_config(self.config, run), perceptual_metric(run)
        )
        trained, frozen = select(params, run.trained)
        self.frozen = meshes.place(frozen, self.mesh)
        self.state: TrainState = meshes.place(init_train_state(run, trained), self.mesh)
        data = dataclasses.replace(run.data, frames=run.window)
        self.batches = open_batches(
            data, run.seed, jax.process_index(), jax.process_count()
        )
        self.checkpoints = open_checkpoints(folder / "checkpoints")
        self.log = Log(
            folder, run.steps, run.data.batch_size * run.window, self.is_main
        )
        self.best = math.inf
        self.stop_signal: int | None = None
        self._validation = list(validate.windows(run)) if run.validation_windows else []
        self._drift_metric = load_lpips()
        self._steps: dict[bool, Any] = {}

    def _start(self) -> tuple[ModelConfig, Params]:
        """The start weights; kept beside the checkpoints, so that a resumed run has the
        same frozen parameters.
        """
        start_file = self.folder / "start.safetensors"
        if start_file.exists():
            return checkpoint.load(str(start_file))
        config, params = start_model(self.run)
        if self.is_main:
            checkpoint.save(start_file, config, params)
            (self.folder / "run.json").write_text(
                json.dumps(dataclasses.asdict(self.run), indent=1)
            )
        return config, params

    def resume(self) -> int:
        """Continue from the latest checkpoint, if there is one; returns the step."""
        latest = self.checkpoints.latest()
        if latest is None:
            return 0
        state, notes = self.checkpoints.restore(latest, self.state)
        self._check_same_run(notes["run"])
        self.state = (
            meshes.place(state, self.mesh)
            if isinstance(state.step, np.ndarray)
            else state
        )
        self.batches.set_state(notes["data"])
        self.best = notes["best"] if notes["best"] is not None else math.inf
        return latest

    def _check_same_run(self, saved: dict[str, Any]) -> None:
        # json turns tuples into lists; lengths of a run, logging and paths may change,
        # what is computed may not
        now = json.loads(json.dumps(dataclasses.asdict(self.run)))
        names = ("objective", "trained", "seed", "loss", "rollout", "num_timesteps")
        now, saved = (
            traverse_util.flatten_dict({n: d[n] for n in names}, sep=".")
            for d in (now, saved)
        )
        for name in now | saved:
            if now.get(name) != saved.get(name):
                raise ValueError(
                    f"{self.folder} holds a run with {name}={saved.get(name)}, not "
                    f"{now.get(name)}: use another "
                    "--out"
                )

    def compiled(self, with_gan: bool):
        """The jitted step; the old state's memory is given to the new one."""
        if with_gan not in self._steps:
            function = functools.partial(
                train_step, context=self.context, with_gan=with_gan
            )
            out = jax.tree.map(lambda x: x.sharding, self.state), None
            self._steps[with_gan] = jax.jit(
                function,
                donate_argnums=0,
                out_shardings=out,
                compiler_options=compiler_options(),
            )
        return self._steps[with_gan]

    def save(self, step: int, metric: float) -> None:
        """State, data cursor and run; then the weights for inference."""
        notes = {
            "data": self.batches.get_state(),
            "run": dataclasses.asdict(self.run),
            "best": None if math.isinf(self.best) else self.best,
        }
        self.checkpoints.save(step, self.state, notes, metric)
        self.export()

    def export(self) -> Path:
        """weights.safetensors: the averaged parameters (the raw ones without an
        average).
        """
        path = self.folder / "weights.safetensors"
        params = meshes.to_host(self.params())
        if self.is_main:
            checkpoint.save(path, self.config, params, step=str(int(self.state.step)))
        return path

    def params(self) -> Params:
        """Whole parameter tree, averaged where an average is kept."""
        return merge(self.state.ema or self.state.trained, self.frozen)

    def evaluate(self, step: int) -> dict[str, float]:
        """Numbers of the fixed windows; the drift curve goes to drift.jsonl and a
        picture beside it.
        """
        if not self._validation:
            return {}
        params = jax.tree.map(jnp.asarray, meshes.to_host(self.params()))
        windows = dict(self._validation)
        numbers = validate.stage_loss(params, windows["loss"], self.context)
        drift = validate.drift(
            params, windows["drift"], self.context, self._drift_metric
        )
        numbers = numbers | {
            f"stream_{name}": value for name, value in validate.summary(drift).items()
        }
        if self.is_main:
            self._write_drift(step, drift)
        self.log.write(step, numbers, "validation")
        self.best = min(self.best, numbers["loss"])
        return numbers

    def _write_drift(self, step: int, drift: validate.Drift) -> None:
        curve = {
            "step": step,
            "psnr": drift.psnr.tolist(),
            "lpips": drift.lpips.tolist(),
        }
        with (self.folder / "drift.jsonl").open("a") as file:
            file.write(json.dumps(curve) + "\n")
        self.log.picture(step, "bicubic_ours_truth", drift.sample)
        try:
            from PIL import Image
        except ModuleNotFoundError:  # a bare machine: numbers only
            return
        (self.folder / "samples").mkdir(exist_ok=True)
        Image.fromarray(drift.sample).save(self.folder / "samples" / f"{step:08d}.png")

    def close(self) -> None:
        self.checkpoints.close()
        self.batches.close()
        self.log.close()


def train(run: RunConfig, folder: Path) -> Outcome:
    """Train to `run.steps`, or until SIGINT/SIGTERM. FloatingPointError when the loss
    is not finite.
    """
    trainer = Trainer(run, folder)
    handlers = {
        s: signal.signal(s, lambda n, _: setattr(trainer, "stop_signal", n))
        for s in _signals()
    }
    started = time.monotonic()
    try:
        step = trainer.resume()
        before = trainer.evaluate(step)
        after = _steps(trainer, step, before)
        status = "interrupted" if trainer.stop_signal else "done"
        outcome = Outcome(
            status,
            run.steps,
            str(folder / "weights.safetensors"),
            before,
            after,
            time.monotonic() - started,
        )
        if trainer.is_main:
            (folder / "outcome.json").write_text(
                json.dumps(dataclasses.asdict(outcome), indent=1)
            )
        return outcome
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        trainer.close()


def _signals() -> list[signal.Signals]:
    import threading

    is_main = threading.current_thread() is threading.main_thread()
    return [signal.SIGINT, signal.SIGTERM] if is_main else []


def _steps(trainer: Trainer, step: int, numbers: dict[str, float]) -> dict[str, float]:
    run = trainer.run
    first = step
    while step < run.steps and not trainer.stop_signal:
        batch = next(trainer.batches)
        placed = meshes.place_batch((batch.hr, batch.lr), trainer.mesh)
        with_gan = run.loss.gan.weight > 0 and step % run.loss.gan.every == 0
        trainer.state, metrics = trainer.compiled(with_gan)(
            trainer.state, trainer.frozen, *placed
        )
        step += 1
        if step == first + 1:
            jax.block_until_ready(metrics)
            trainer.log.start(step)
        is_last = step == run.steps or trainer.stop_signal
        if step % run.log_every == 0 or step % run.checkpoint_every == 0 or is_last:
            _check_finite(metrics, step)
            trainer.log.write(
                step, {name: float(value) for name, value in metrics.items()}
            )
        if step % run.validate_every == 0 or step == run.steps:
            numbers = trainer.evaluate(step)
        if step % run.checkpoint_every == 0 or is_last:
            trainer.save(step, numbers.get("loss", float(metrics["loss"])))
    return numbers


def _check_finite(metrics: dict[str, Any], step: int) -> None:
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"step {step}: {', '.join(bad)} not finite; the last checkpoint is intact: "
            "lower "
            "--optimizer.learning-rate or --optimizer.clip and start again to resume "
            "from it"
        )
