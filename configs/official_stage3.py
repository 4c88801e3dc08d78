"""The released third stage: the ControlNet from the U-Net, one hop behind a first-frame
output.

    python -m train --config=official_stage3 --init FOLDER --loss.perceptual-weights
    lpips_alex.safetensors

The neighbour is the previous frame, windows reversed at p = 0.5: the statistics of the
released t-1 or t+1.

Cost: 207 TFLOP a step, 12 EFLOP in all (LPIPS not counted): 9 device-hours at 400
TFLOP/s (arithmetic, not measured); 4.4 GB of state, 40 GB of activations.
"""

from dataclasses import replace

from configs import RolloutConfig
from configs._official import BASE, GAN, LOSS

run = replace(
    BASE,
    trained=("controlnet/*",),
    steps=60_000,
    guidance_from_unet=True,
    loss=replace(
        LOSS,
        latent_form="v",
        gan=replace(
            GAN,
            start=2000,
            # the last of the trained layers, one of thirteen such convolutions
            ratio_at=("controlnet/controlnet_mid_block/kernel",),
        ),
    ),
    # the first frame's output is what the hop looks back at
    rollout=RolloutConfig(start="noised_gt", burn_in=1),
    # 40 GB of activations instead of several times as many
    remat=True,
    unroll=False,
    validate_every=5000,
)
