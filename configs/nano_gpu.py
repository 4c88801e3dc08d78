"""What a GPU adds to `nano_cpu` in minutes: a stage like its last ones, with four times the batch and long memory.

python -m train --config=nano_gpu --init runs/nano/settle/weights.safetensors --data.path train.npy

Cost: not measured yet.
"""

from dataclasses import replace

from configs import nano_cpu
from configs.nano_cpu import FEEDBACK, PICTURE

settle = nano_cpu.chain["settle"]
run = replace(
    settle,
    init="nano",
    steps=4000,
    data=replace(settle.data, batch_size=32),
    optimizer=replace(settle.optimizer, learning_rate=1e-3, warmup=100, ema=0.999),
    loss=replace(PICTURE, latent=0.2, temporal=3.0),
    # windows of eight frames are seen there and back, so that errors have time to grow before they are judged
    rollout=replace(FEEDBACK, segment=2, burn_in=14, feedback_truth=0.15),
    unroll=False,
)
