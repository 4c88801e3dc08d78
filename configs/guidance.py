"""Auto-regressive temporal guidance (ARTG): the ControlNet, with the U-Net frozen, on
fed-back frames.

python -m train --config=guidance --init runs/decoder/weights.safetensors

Cost: 0.065 TFLOP a step, 0.65 PFLOP in all (LPIPS not counted); 11 MB of state.
"""

from configs import DataConfig, LossConfig, OptimizerConfig, RolloutConfig, RunConfig

run = RunConfig(
    objective="rollout",
    trained=("controlnet/*",),
    steps=10_000,
    # as a ControlNet is meant to start: its convolutions of zeros change nothing yet
    guidance_from_unet=True,
    data=DataConfig(crop=32, batch_size=8),
    optimizer=OptimizerConfig(learning_rate=3e-4, warmup=200, decay="cosine"),
    loss=LossConfig(latent=1.0, pixel=0.5, perceptual=0.5, temporal=0.5),
    # fed-back frames are never as clean as true ones, and first frames come again and
    # again: after a cut, or where a viewer joins
    rollout=RolloutConfig(
        hops=2, burn_in=2, feedback_noise=0.1, feedback_gain=0.03, drop=0.1, cut=0.05
    ),
)
