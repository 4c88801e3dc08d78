"""The released first stage: 4-step rollout distillation of the U-Net (x4-upscaler
layout), 8 windows of 512x512.

python -m train --config=official_stage1 --init FOLDER --loss.perceptual-weights
lpips_alex.safetensors

Cost: 142 TFLOP a step, 85 EFLOP in all (LPIPS not counted): 2.5 device-days at 400
TFLOP/s (arithmetic, not measured); 6.6 GB of state, 33 GB of activations on one device;
0.82 GB of state on each of 8 with --fsdp 8.
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
    trained=("unet/*",),
    model="stream_diffvsr",
    steps=600_000,
    seed=42,
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
            start=1000,
            gate=0.5,
            norm="batch",
            value_range="mixed",
            ratio_at=("unet/conv_out/kernel",),
            learning_rate=5e-5,
        ),
    ),
    rollout=RolloutConfig(start="noised_gt", use_guidance=False, use_tpm=False),
    remat=True,
    unroll=False,
    validate_every=5000,
    checkpoint_every=5000,
)
