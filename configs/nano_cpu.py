r"""The stages of `nano_all`, cut down to four hours of two CPU cores: the shipped
weights.

python -m train.prepare ~/clips --out data/train --trim 0.1 --validation 0.08
python -m train.prepare --out data/train --pack train.npy --windows 2400 --frames 10 \
    --size 160
python -m train --config=nano_cpu --data.path train.npy --out runs/nano

Cost: on two x86-64 cores 80 minutes for the first seven stages, 75 for `alone` to
`polish` beside other work, 6 for the flow and 50 for the last three. The history of the
shipped weights was a little different: `flow` had 4000 steps, seen on LR frames, at its
place, and 3000 as it is now, without refinement, after `polish`; then came 350 more
steps of `forced`; new noise was drawn for every frame in the first seven stages.
"""

from dataclasses import replace
from typing import Any

from configs import LossConfig, RolloutConfig, RunConfig, nano_all


def shorter(
    name: str,
    steps: int,
    learning_rate: float,
    warmup: int = 100,
    ema: float = 0.995,
    **changes: Any,
) -> RunConfig:
    """The stage with fewer steps of 8 windows."""
    run = nano_all.chain[name]
    # packed windows have 160 pixels a side, which is 40 of an LR frame
    crop = min(run.data.crop, 40)
    data = replace(run.data, batch_size=8, crop=crop)
    optimizer = replace(
        run.optimizer,
        learning_rate=learning_rate,
        warmup=min(warmup, steps // 5),
        ema=ema,
    )
    return replace(
        run,
        steps=steps,
        data=data,
        optimizer=optimizer,
        validation_windows=24,
        validate_every=500,
        checkpoint_every=250,
        drift_frames=40,
        **changes,
    )


PICTURE = LossConfig(latent=0.1, pixel=1.0, perceptual=1.0)
"""The end of the chain is judged by its picture; the latents of fine detail cannot be
predicted.
"""

FEEDBACK = RolloutConfig(
    hops=2, burn_in=6, feedback_noise=0.1, feedback_gain=0.03, drop=0.1, cut=0.05
)
ALONE = replace(FEEDBACK, hops=1, burn_in=4, drop=0.05, cut=0.0, use_tpm=False)

chain = {
    "autoencoder": shorter(
        "autoencoder",
        1500,
        1e-3,
        rollout=RolloutConfig(latent_noise=0.5, latent_drop=0.3),
    ),
    "flow": shorter("flow", 7000, 1e-3),
    "teacher": shorter("teacher", 3000, 1e-3),
    # with so few steps the decoder has to move with the latents that it will see
    "distill": shorter(
        "distill", 2600, 5e-4, trained=("unet/*", "vae/decoder/*"), loss=PICTURE
    ),
    "decoder": shorter("decoder", 300, 5e-4, loss=replace(PICTURE, latent=0)),
    "guidance": shorter("guidance", 300, 5e-4, loss=replace(PICTURE, temporal=0.5)),
    "joint": shorter(
        "joint", 1400, 5e-4, loss=replace(PICTURE, temporal=1.0), rollout=FEEDBACK
    ),
    # without TPM, what history can say has to come through the guidance ...
    "alone": shorter(
        "guidance",
        500,
        1e-3,
        50,
        trained=("controlnet/*", "unet/*", "vae/decoder/*"),
        guidance_from_unet=False,
        loss=replace(PICTURE, temporal=2.0),
        rollout=ALONE,
    ),
    # ... and where history is the truth, it can say most
    "forced": shorter(
        "guidance",
        400,
        2e-3,
        30,
        0.99,
        trained=("controlnet/*", "unet/*"),
        guidance_from_unet=False,
        loss=PICTURE,
        rollout=replace(
            ALONE, burn_in=1, drop=0.1, feedback_truth=0.7, feedback_noise=0.05
        ),
    ),
    # the gradient goes back through the frame that is fed back
    "polish": shorter(
        "joint",
        800,
        7e-4,
        50,
        loss=replace(PICTURE, temporal=2.0),
        rollout=replace(FEEDBACK, segment=2, burn_in=4, feedback_truth=0.15),
    ),
    # latents from the history alone, without a picture: only now the guidance carries
    # them over ...
    "transport": shorter(
        "guidance",
        600,
        2e-3,
        30,
        0.99,
        trained=("controlnet/*", "unet/*"),
        guidance_from_unet=False,
        loss=LossConfig(latent=1.0, pixel=0, perceptual=0),
        rollout=replace(ALONE, burn_in=1, feedback_truth=0.9, feedback_noise=0.05),
    ),
    # ... and the decoder learns to rely on it
    "trust": shorter(
        "joint",
        500,
        1e-3,
        50,
        loss=replace(PICTURE, latent=0.3, temporal=1.5),
        rollout=replace(FEEDBACK, segment=2, burn_in=4, feedback_truth=0.4),
    ),
    # on its own frames again: the truth is fed back in one of ten only
    "settle": shorter(
        "joint",
        850,
        7e-4,
        30,
        loss=replace(PICTURE, latent=0.2, temporal=4.0),
        rollout=replace(FEEDBACK, segment=2, burn_in=5, feedback_truth=0.1),
    ),
}
