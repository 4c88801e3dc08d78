"""Run a small training in its own process: `python -m tests.train.run_once JSON`."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

from configs import DataConfig, LossConfig, OptimizerConfig, RunConfig
from train import loop
from train.mesh import start_processes


def small_run(init: str, data: str, **changes) -> RunConfig:
    """Six steps of the denoiser, a checkpoint every second one, no validation."""
    base = RunConfig(
        objective="denoise",
        trained=("unet/*",),
        init=init,
        steps=6,
        seed=3,
        data=DataConfig(path=data, crop=16, batch_size=8),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup=1, ema=0.9),
        loss=LossConfig(latent=1.0, pixel=0, perceptual=0),
        log_every=1,
        checkpoint_every=2,
        validation_windows=0,
    )
    return dataclasses.replace(base, **changes)


def kill_at(step: int) -> None:
    """SIGKILL this process when it logs `step`: no handler, no flush, no goodbye."""
    # behind the step itself and in front of its checkpoint
    write = loop.Log.write

    def killing(self, number, *args, **kwargs):
        write(self, number, *args, **kwargs)
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.Log.write = killing


def main(spec: dict) -> None:
    # an import of such a module fails, as on a machine without it
    for name in spec.get("absent", ()):
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    start_processes()
    if "kill_at" in spec:
        kill_at(spec["kill_at"])
    changes = spec.get("changes", {})
    run = small_run(spec["init"], spec["data"], **changes)
    loop.train(run, Path(spec["out"]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
