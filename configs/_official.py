"""Settings of the three released stages, which differ in losses and parameters.

They are those of the released training code (docs/training.md), its squared weight of
the adversarial loss and its mixed value ranges included.
"""

from configs import DataConfig, GANConfig, LossConfig, OptimizerConfig, RunConfig

GAN = GANConfig(
    weight=0.025,
    power=2,
    every=5,
    gate=0.5,
    norm="batch",
    value_range="mixed",
    learning_rate=5e-5,
)

LOSS = LossConfig(
    pixel=0,
    perceptual=0.1,
    perceptual_net="alex",
    gan=GAN,
)

BASE = RunConfig(
    objective="rollout",
    trained=(),
    model="stream_diffvsr",
    seed=42,
    data=DataConfig(
        path="data/reds",
        crop=128,
        batch_size=8,
    ),
    optimizer=OptimizerConfig(
        learning_rate=5e-5,
        warmup=1000,
        # the released code exports the raw weights
        ema=0.0,
    ),
    loss=LOSS,
    checkpoint_every=10_000,
)
