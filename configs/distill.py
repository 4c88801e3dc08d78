"""Rollout distillation: the gradient runs through the whole 4-step chain, losses at its
end, first-frame mode.

python -m train --config=distill --init runs/teacher/weights.safetensors python -m train
--config=distill --num-timesteps 2 --init runs/distill/weights.safetensors   # or 1

Cost: 0.046 TFLOP a step, 0.9 PFLOP in all (LPIPS not counted); 14 MB of state.
"""

from configs import DataConfig, LossConfig, OptimizerConfig, RolloutConfig, RunConfig

run = RunConfig(
    objective="rollout",
    trained=("unet/*",),
    steps=20_000,
    data=DataConfig(crop=32, batch_size=16),
    optimizer=OptimizerConfig(learning_rate=3e-4, warmup=200, decay="cosine"),
    # the picture's losses make a super-resolver of it: the teacher's samples have less
    # PSNR than bicubic frames (docs/training.md)
    loss=LossConfig(latent=1.0, pixel=0.5, perceptual=0.5),
    rollout=RolloutConfig(use_guidance=False, use_tpm=False),
)
