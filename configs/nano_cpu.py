"""The stages of `nano_all`, cut down to what two CPU cores do in about 90 minutes: the first shipped weights.

python -m train.prepare ~/clips --out data/train --trim 0.1 --validation 0.08
python -m train.prepare --out data/train --pack train.npy --windows 2400 --frames 10 --size 160
python -m train --config=nano_cpu --data.path train.npy --out runs/nano

Cost: under 90 minutes on two shared x86-64 cores.
"""

from dataclasses import replace

from configs import LossConfig, RolloutConfig, RunConfig, nano_all


def shorter(name: str, steps: int, learning_rate: float, **changes: object) -> RunConfig:
    """The stage with fewer steps of 8 windows."""
    run = nano_all.chain[name]
    return replace(
        run,
        steps=steps,
        data=replace(run.data, batch_size=8, crop=min(run.data.crop, 40)),
        optimizer=replace(run.optimizer, learning_rate=learning_rate, warmup=min(100, steps // 5), ema=0.995),
        validation_windows=24,
        validate_every=500,
        checkpoint_every=250,
        drift_frames=40,
        **changes,
    )


PICTURE = LossConfig(latent=0.1, pixel=1.0, perceptual=1.0)
"""The end of the chain is judged by its picture; the latents of fine detail cannot be predicted."""

chain = {
    "autoencoder": shorter(
        "autoencoder",
        1500,
        1e-3,
        rollout=RolloutConfig(latent_noise=0.5, latent_drop=0.3),
    ),
    "flow": shorter("flow", 4000, 1e-3),
    "teacher": shorter("teacher", 3000, 1e-3),
    # with so few steps the decoder has to move with the latents that it will see
    "distill": shorter("distill", 2600, 5e-4, trained=("unet/*", "vae/decoder/*"), loss=PICTURE),
    "decoder": shorter("decoder", 300, 5e-4, loss=replace(PICTURE, latent=0)),
    "guidance": shorter("guidance", 300, 5e-4, loss=replace(PICTURE, temporal=0.5)),
    "joint": shorter(
        "joint",
        1400,
        5e-4,
        loss=replace(PICTURE, temporal=1.0),
        rollout=RolloutConfig(hops=2, burn_in=6, feedback_noise=0.1, feedback_gain=0.03, drop=0.1, cut=0.05),
    ),
}
