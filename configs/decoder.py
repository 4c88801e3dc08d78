"""Temporal processor modules (TPM) of the decoder: true latents, disturbed, with the
previous frame's features.

python -m train --config=decoder --init runs/distill/weights.safetensors

Cost: 0.035 TFLOP a step, 0.35 PFLOP in all (LPIPS not counted); 6.3 MB of state.
"""

from configs import DataConfig, LossConfig, OptimizerConfig, RolloutConfig, RunConfig

run = RunConfig(
    objective="decode",
    trained=("vae/decoder/*temporal_processor*",),
    steps=10_000,
    data=DataConfig(crop=32, batch_size=16),
    optimizer=OptimizerConfig(learning_rate=3e-4, warmup=200, decay="cosine"),
    loss=LossConfig(latent=0, pixel=1.0, perceptual=0.5),
    rollout=RolloutConfig(latent_noise=0.5),
)
