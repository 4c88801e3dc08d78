"""The released first stage: 4-step rollout distillation of the U-Net (x4-upscaler
layout), 8 windows of 512x512.

python -m train --config=official_stage1 --init FOLDER --loss.perceptual-weights
lpips_alex.safetensors

Cost: 142 TFLOP a step, 85 EFLOP in all (LPIPS not counted): 2.5 device-days at 400
TFLOP/s (arithmetic, not measured); 6.6 GB of state, 33 GB of activations on one device;
0.82 GB of state on each of 8 with --fsdp 8.
"""

from dataclasses import replace

from configs import RolloutConfig
from configs._official import BASE, GAN, LOSS

run = replace(
    BASE,
    trained=("unet/*",),
    steps=600_000,
    loss=replace(
        LOSS,
        # of the last of the four predictions, the only one that is supervised
        latent_form="v",
        gan=replace(
            GAN,
            start=1000,
            # the last layer stands for all, as the released code measures it
            ratio_at=("unet/conv_out/kernel",),
        ),
    ),
    rollout=RolloutConfig(
        # inference starts from pure noise; this start holds the truth at 2.7 %
        start="noised_gt",
        use_guidance=False,
        use_tpm=False,
    ),
    # 33 GB of activations instead of several times as many
    remat=True,
    unroll=False,
    validate_every=5000,
    # the released code writes one every ten steps, 60,000 in all
    checkpoint_every=5000,
)
