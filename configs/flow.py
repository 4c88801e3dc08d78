"""The small flow network, unsupervised: it sees pairs of LR frames and is judged on the
HR frames it warps.

python -m train --config=flow --init runs/autoencoder/weights.safetensors

Cost: 0.012 TFLOP a step, 0.12 PFLOP in all; 7 MB of state.
"""

from configs import DataConfig, LossConfig, OptimizerConfig, RunConfig

run = RunConfig(
    objective="flow",
    trained=("flow/*",),
    steps=10_000,
    data=DataConfig(crop=64, batch_size=16, static=0.05),
    optimizer=OptimizerConfig(learning_rate=5e-4, warmup=200, decay="cosine"),
    loss=LossConfig(latent=0, pixel=0, perceptual=0, photometric=1.0, smoothness=0.05),
)
