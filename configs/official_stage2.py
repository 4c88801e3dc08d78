"""The released second stage: the decoder's TPMs on ground truth frames and their RAFT
flow, effective batch 8.

python -m train --config=official_stage2 --init FOLDER --loss.perceptual-weights
lpips_alex.safetensors

Cost: 18 TFLOP a step, 3.6 EFLOP in all (LPIPS not counted): 2.5 device-hours at 400
TFLOP/s (arithmetic, not measured); 2.8 GB of state, 18 GB of activations.
"""

from dataclasses import replace

from configs import RolloutConfig
from configs._official import BASE, GAN, LOSS

run = replace(
    BASE,
    objective="decode",
    trained=("vae/decoder/*temporal_processor*", "vae/decoder/*alpha"),
    # the ten million of the released script are a placeholder
    steps=200_000,
    loss=replace(
        LOSS,
        # latents are the encoder's here: nothing that trains changes them
        latent=0,
        pixel=1.0,
        pixel_form="smooth_l1",
        flow_match=0.1,
        flow_match_start=20_000,
        # although RAFT was trained on [-1, 1]
        flow_match_range="01",
        gan=replace(
            GAN,
            start=20_000,
            # the released stage has no LR frames at all
            conditional=False,
            ratio_at=("vae/decoder/layers_12/temporal_processor_2/kernel",),
        ),
    ),
    rollout=RolloutConfig(decode_from="hr"),
    validate_every=10_000,
)
