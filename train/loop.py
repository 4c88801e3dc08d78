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
from sdvsr_jax.types import Array, Key, Params
from sdvsr_jax.weights import load as checkpoint
from train import mesh as meshes
from train import validate
from train.checkpoints import open_checkpoints
from train.data.source import open_batches
from train.frames import Video
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
    key = jax.random.key(run.seed)
    config, params = _weights_or_preset(run, key)
    if run.add_restorer and config.restorer is None:
        config = dataclasses.replace(config, restorer=RestorerConfig())
        restorer = init_restorer(key, config)
        params = params | {"restorer": restorer}
    if run.num_timesteps:
        diffusion = dataclasses.replace(config.diffusion, num_steps=run.num_timesteps)
        config = dataclasses.replace(config, diffusion=diffusion)
    crop = run.data.crop
    if crop % config.size_multiple or crop < config.min_size:
        raise ValueError(
            f"data.crop {crop}: expected a multiple of "
            f"{config.size_multiple}, at least {config.min_size}"
        )
    if run.guidance_from_unet:
        params = guidance_from_unet(params)
    return config, params


def _weights_or_preset(
    run: RunConfig, key: Key[Array, ""]
) -> tuple[ModelConfig, Params]:
    if run.init:
        return checkpoint.load(run.init, flow_weights=run.flow_weights or None)
    if run.model not in PRESETS:
        raise ValueError(
            f"model={run.model!r}: expected one of {sorted(PRESETS)}, or give weights "
            "with --init"
        )
    config = PRESETS[run.model]()
    # compiled: op by op it takes many times as long
    initialise = jax.jit(init_params, static_argnums=1)
    return config, initialise(key, config)


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
    settings = run.loss
    if not settings.perceptual:
        return None
    return load_lpips(settings.perceptual_weights or None, settings.perceptual_net)


class Trainer:
    """One run in `folder`: it owns mesh, compiled steps, data and files."""

    def __init__(self, run: RunConfig, folder: Path):
        self.run = run
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        process = jax.process_index()
        self.is_main = process == 0
        self.mesh = meshes.make_mesh(run.fsdp)
        self.config, params = self._start()
        config = training_config(self.config, run)
        self.context = Context(run, config, perceptual_metric(run))
        trained, frozen = select(params, run.trained)
        state = init_train_state(run, trained)
        self.frozen = meshes.place(frozen, self.mesh)
        self.state: TrainState = meshes.place(state, self.mesh)
        data = dataclasses.replace(run.data, frames=run.window)
        num_processes = jax.process_count()
        self.batches = open_batches(data, run.seed, process, num_processes)
        self.checkpoints = open_checkpoints(folder / "checkpoints")
        images_per_step = run.data.batch_size * run.window
        self.log = Log(folder, run.steps, images_per_step, self.is_main)
        self.best = math.inf
        self.stop_signal: int | None = None
        self._validation: dict[str, Video] = {}
        if run.validation_windows:
            self._validation = dict(validate.windows(run))
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
            settings = dataclasses.asdict(self.run)
            text = json.dumps(settings, indent=1)
            (self.folder / "run.json").write_text(text)
        return config, params

    def resume(self) -> int:
        """Continue from the latest checkpoint, if there is one; returns the step."""
        latest = self.checkpoints.latest()
        if latest is None:
            return 0
        state, notes = self.checkpoints.restore(latest, self.state)
        self._check_same_run(notes["run"])
        # the plain form gives arrays of the host, the other one places them itself
        if isinstance(state.step, np.ndarray):
            state = meshes.place(state, self.mesh)
        self.state = state
        self.batches.set_state(notes["data"])
        # JSON has no infinity
        best = notes["best"]
        self.best = math.inf if best is None else best
        return latest

    def _check_same_run(self, saved: dict[str, Any]) -> None:
        # json turns tuples into lists
        text = json.dumps(dataclasses.asdict(self.run))
        settings = json.loads(text)
        now = _computed_settings(settings)
        before = _computed_settings(saved)
        # a setting may be new since, or gone
        for name in now | before:
            value = now.get(name)
            old_value = before.get(name)
            if value != old_value:
                raise ValueError(
                    f"{self.folder} holds a run with {name}={old_value}, not "
                    f"{value}: use another --out"
                )

    def compiled(self, with_gan: bool):
        """The jitted step; the old state's memory is given to the new one."""
        if with_gan not in self._steps:
            function = functools.partial(
                train_step,
                context=self.context,
                with_gan=with_gan,
            )
            # as the old state lies, or the next step would be compiled for another
            shardings = jax.tree.map(lambda x: x.sharding, self.state)
            self._steps[with_gan] = jax.jit(
                function,
                donate_argnums=0,
                out_shardings=(shardings, None),
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
        # every process takes part, because each has a part of the arrays
        params = meshes.to_host(self.params())
        if self.is_main:
            step = int(self.state.step)
            checkpoint.save(path, self.config, params, step=str(step))
        return path

    def params(self) -> Params:
        """Whole parameter tree, averaged where an average is kept."""
        trained = self.state.ema or self.state.trained
        return merge(trained, self.frozen)

    def evaluate(self, step: int) -> dict[str, float]:
        """Numbers of the fixed windows; the drift curve goes to drift.jsonl and a
        picture beside it.
        """
        if not self._validation:
            return {}
        params = meshes.to_host(self.params())
        params = jax.tree.map(jnp.asarray, params)
        loss_window = self._validation["loss"]
        drift_window = self._validation["drift"]
        numbers = validate.stage_loss(params, loss_window, self.context)
        drift = validate.drift(params, drift_window, self.context, self._drift_metric)
        for name, value in validate.summary(drift).items():
            numbers[f"stream_{name}"] = value
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
        line = json.dumps(curve)
        with (self.folder / "drift.jsonl").open("a") as file:
            file.write(f"{line}\n")
        self.log.picture(step, "bicubic_ours_truth", drift.sample)
        try:
            from PIL import Image
        except ModuleNotFoundError:
            # a bare machine: numbers only
            return
        samples = self.folder / "samples"
        samples.mkdir(exist_ok=True)
        picture = Image.fromarray(drift.sample)
        picture.save(samples / f"{step:08d}.png")

    def close(self) -> None:
        self.checkpoints.close()
        self.batches.close()
        self.log.close()


def _computed_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide the numbers, flat: a run that goes on may change its
    length, logging and paths, but none of these.
    """
    names = ("objective", "trained", "seed", "loss", "rollout", "num_timesteps")
    computed = {name: settings[name] for name in names}
    flat: dict[str, Any] = traverse_util.flatten_dict(computed, sep=".")  # pyright: ignore[reportAssignmentType]
    return flat


def train(run: RunConfig, folder: Path) -> Outcome:
    """Train to `run.steps`, or until SIGINT/SIGTERM. FloatingPointError when the loss
    is not finite.
    """
    trainer = Trainer(run, folder)

    def stop(number: int, _: Any) -> None:
        # the step that runs is finished, and saved
        trainer.stop_signal = number

    # the caller's own are put back in the end
    handlers = {number: signal.signal(number, stop) for number in _signals()}
    start = time.monotonic()
    try:
        step = trainer.resume()
        before = trainer.evaluate(step)
        after = _steps(trainer, step, before)
        outcome = Outcome(
            status="interrupted" if trainer.stop_signal else "done",
            steps=run.steps,
            weights=str(folder / "weights.safetensors"),
            before=before,
            after=after,
            seconds=time.monotonic() - start,
        )
        if trainer.is_main:
            facts = dataclasses.asdict(outcome)
            text = json.dumps(facts, indent=1)
            (folder / "outcome.json").write_text(text)
        return outcome
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        trainer.close()


def _signals() -> list[signal.Signals]:
    import threading

    # Python lets no other thread set handlers
    is_main = threading.current_thread() is threading.main_thread()
    return [signal.SIGINT, signal.SIGTERM] if is_main else []


def _steps(trainer: Trainer, step: int, numbers: dict[str, float]) -> dict[str, float]:
    run = trainer.run
    first = step
    while step < run.steps and not trainer.stop_signal:
        batch = next(trainer.batches)
        windows = (batch.hr, batch.lr)
        hr, lr = meshes.place_batch(windows, trainer.mesh)
        gan = run.loss.gan
        with_gan = gan.weight > 0 and step % gan.every == 0
        compute = trainer.compiled(with_gan)
        trainer.state, metrics = compute(trainer.state, trainer.frozen, hr, lr)
        step += 1
        if step == first + 1:
            jax.block_until_ready(metrics)
            trainer.log.start(step)
        is_last = step == run.steps or trainer.stop_signal
        is_saved = step % run.checkpoint_every == 0 or is_last
        is_logged = step % run.log_every == 0
        if is_logged or is_saved:
            # to look at a number waits for the step, so not in each of them
            _check_finite(metrics, step)
            record = {name: float(value) for name, value in metrics.items()}
            trainer.log.write(step, record)
        if step % run.validate_every == 0 or step == run.steps:
            numbers = trainer.evaluate(step)
        if is_saved:
            loss = numbers.get("loss", float(metrics["loss"]))
            trainer.save(step, loss)
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
