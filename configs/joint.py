"""Polish everything but encoder and flow on unrolled video, on the frames that a stream
meets after a long time.

python -m train --config=joint --init runs/guidance/weights.safetensors

Cost: 0.15 TFLOP a step, 1.5 PFLOP in all (LPIPS not counted); 23 MB of state.
"""

from configs import DataConfig, LossConfig, OptimizerConfig, RolloutConfig, RunConfig

run = RunConfig(
    objective="rollout",
    trained=("unet/*", "controlnet/*", "vae/decoder/*"),
    steps=10_000,
    # a recurrent model diverges first where nothing moves
    data=DataConfig(crop=32, batch_size=8, static=0.15),
    optimizer=OptimizerConfig(learning_rate=1e-4, warmup=200, decay="cosine"),
    loss=LossConfig(latent=0.2, pixel=1.0, perceptual=0.5, temporal=1.0),
    # errors of the feedback need frames to grow before they are judged
    rollout=RolloutConfig(
        hops=4, burn_in=8, feedback_noise=0.1, feedback_gain=0.03, drop=0.1, cut=0.05
    ),
)
