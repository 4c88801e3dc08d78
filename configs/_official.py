"""Settings of the three released stages, which differ in losses and parameters.

They are those of the released training code (docs/training.md), its squared weight of
the adversarial loss and its mixed value ranges included.
"""

from configs import DataConfig, GANConfig, LossConfig, OptimizerConfig, RunConfig

GAN = GANConfig(
    weight=0.025,
    # squared: 6e-4 of the picture's gradient is left of it, in one step of five
    power=2,
    every=5,
    # at chance its loss is 1.39: it rests once it tells most frames apart
    gate=0.5,
    norm="batch",
    value_range="mixed",
    learning_rate=5e-5,
)

LOSS = LossConfig(
    # the Charbonnier term of the released code is off, and its function not defined
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
        # two windows on each of four GPUs; in the second stage eight, but there the
        # released gradients never meet, and the first GPU's weights are kept
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
