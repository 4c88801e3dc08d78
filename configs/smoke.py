"""Minutes on a CPU, no data needed beyond a few small clips: the whole machinery once,
for CI.

python -m train --config=smoke --data.path data/train

Cost: 0.005 TFLOP a step; compilation is all of its time.
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
    trained=("unet/*", "controlnet/*", "vae/decoder/*"),
    # a checkpoint in the middle and a validation at the end
    steps=6,
    data=DataConfig(crop=16, batch_size=2),
    optimizer=OptimizerConfig(learning_rate=1e-4, warmup=2),
    loss=LossConfig(temporal=0.5, gan=GANConfig(weight=0.1)),
    rollout=RolloutConfig(hops=2, burn_in=1, feedback_noise=0.1, drop=0.1, cut=0.2),
    log_every=1,
    validate_every=6,
    validation_windows=2,
    drift_frames=10,
    checkpoint_every=3,
)
