"""The released third stage: the ControlNet from the U-Net, one hop behind a first-frame
output.

    python -m train --config=official_stage3 --init FOLDER --loss.perceptual-weights
    lpips_alex.safetensors

The neighbour is the previous frame, windows reversed at p = 0.5: the statistics of the
released t-1 or t+1.

Cost: 207 TFLOP a step, 12 EFLOP in all (LPIPS not counted): 9 device-hours at 400
TFLOP/s (arithmetic, not measured); 4.4 GB of state, 40 GB of activations.
"""

from configs import (
    DataConfig,
    GANConfig,
    LossConfig,
    OptimizerConfig,
    RolloutConfig,
    RunConfig,
)

run = RunConfig(
    objective="rollout",
    trained=("controlnet/*",),
    model="stream_diffvsr",
    steps=60_000,
    seed=42,
    guidance_from_unet=True,
    data=DataConfig(path="data/reds", crop=128, batch_size=8),
    optimizer=OptimizerConfig(learning_rate=5e-5, warmup=1000, ema=0.0),
    loss=LossConfig(
        latent=1.0,
        latent_form="v",
        pixel=0,
        perceptual=0.1,
        perceptual_net="alex",
        gan=GANConfig(
            weight=0.025,
            power=2,
            every=5,
            start=2000,
            gate=0.5,
            norm="batch",
            value_range="mixed",
            ratio_at=("controlnet/controlnet_mid_block/kernel",),
            learning_rate=5e-5,
        ),
    ),
    rollout=RolloutConfig(start="noised_gt", burn_in=1),
    remat=True,
    unroll=False,
    validate_every=5000,
    checkpoint_every=10_000,
)
