"""The released second stage: the decoder's TPMs on ground truth frames and their RAFT
flow, effective batch 8.

python -m train --config=official_stage2 --init FOLDER --loss.perceptual-weights
lpips_alex.safetensors

Cost: 18 TFLOP a step, 3.6 EFLOP in all (LPIPS not counted): 2.5 device-hours at 400
TFLOP/s (arithmetic, not measured); 2.8 GB of state, 18 GB of activations.
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
    objective="decode",
    trained=("vae/decoder/*temporal_processor*", "vae/decoder/*alpha"),
    model="stream_diffvsr",
    steps=200_000,
    seed=42,
    data=DataConfig(path="data/reds", crop=128, batch_size=8),
    optimizer=OptimizerConfig(learning_rate=5e-5, warmup=1000, ema=0.0),
    loss=LossConfig(
        latent=0,
        pixel=1.0,
        pixel_form="smooth_l1",
        perceptual=0.1,
        perceptual_net="alex",
        flow_match=0.1,
        flow_match_start=20_000,
        flow_match_range="01",
        gan=GANConfig(
            weight=0.025,
            power=2,
            every=5,
            start=20_000,
            gate=0.5,
            norm="batch",
            value_range="mixed",
            conditional=False,
            ratio_at=("vae/decoder/layers_12/temporal_processor_2/kernel",),
            learning_rate=5e-5,
        ),
    ),
    rollout=RolloutConfig(decode_from="hr"),
    validate_every=10_000,
    checkpoint_every=10_000,
)
