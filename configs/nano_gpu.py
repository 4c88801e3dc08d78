"""The last stages of the shipped `nano`: five minutes of a GPU on top of `nano_cpu`.

python -m train --config=nano_gpu --init runs/nano/settle/weights.safetensors
--data.path train.npy --out runs/gpu

Cost: on one H200 0.125 s a step of `wide`, which was stopped after 1636 steps (280 s
with the compiler's 75); `cool` took 25 minutes of two CPU cores. The windows of `wide`
were the first eight frames of those of `nano_cpu`, carried to the GPU as H.264 (42 dB).
"""

from dataclasses import replace

from configs import nano_cpu
from configs.nano_cpu import FEEDBACK, PICTURE

settle = nano_cpu.chain["settle"]
wide = replace(
    settle,
    init="nano",
    steps=1636,
    data=replace(settle.data, batch_size=32),
    optimizer=replace(
        settle.optimizer, learning_rate=1e-3, warmup=100, ema=0.999, decay="constant"
    ),
    loss=replace(PICTURE, latent=0.2, temporal=3.0),
    # windows of eight frames are seen there and back, so that errors have time to grow
    # before they are judged
    rollout=replace(FEEDBACK, segment=2, burn_in=14, feedback_truth=0.15),
    # on a GPU loops cost nothing and compile sooner
    unroll=False,
)
# the rate of `wide` never fell: a short run on a CPU in which it does
cool = replace(
    wide,
    steps=1000,
    seed=7,
    data=replace(wide.data, batch_size=8),
    optimizer=replace(wide.optimizer, learning_rate=4e-4, ema=0.998, decay="cosine"),
    unroll=True,
)
chain = {"wide": wide, "cool": cool}
