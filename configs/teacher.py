"""Multi-step denoiser: v-prediction at random timesteps, single frames, no guidance.

python -m train --config=teacher --init runs/flow/weights.safetensors

Cost: 0.035 TFLOP a step, 1.1 PFLOP in all; 14 MB of state.
"""

from configs import DataConfig, LossConfig, OptimizerConfig, RolloutConfig, RunConfig

run = RunConfig(
    objective="denoise",
    trained=("unet/*",),
    steps=30_000,
    data=DataConfig(crop=32, batch_size=32),
    optimizer=OptimizerConfig(learning_rate=5e-4, warmup=500, decay="cosine"),
    loss=LossConfig(latent=1.0, pixel=0, perceptual=0),
    rollout=RolloutConfig(use_guidance=False, use_tpm=False),
)
